"""Agreement of an exported graph, run by onnxruntime, with PyTorch on the same images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clip_adapter.errors import DataError

MOST_DIFFERENCE = 1e-4
"""Largest difference of two probabilities of a class in fp32."""
TIE = 1e-6
"""Difference of probabilities up to which two classes share the first place."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two computations of the same probabilities differ.

    Attributes:
        n_images: number of images, or of features.
        difference: largest difference of two probabilities of a class.
        n_other_class: number of images whose most probable class is another.
    """

    n_images: int
    difference: float
    n_other_class: int

    @classmethod
    def of(cls, expected: Float[np.ndarray, "n c"], found: Float[np.ndarray, "m k"]) -> "Agreement":
        """Compare probabilities, one row an image.

        Args:
            expected: probabilities by PyTorch.
            found: probabilities by the exported graph.

        Raises:
            DataError: the shapes differ.
        """
        if expected.shape != found.shape:
            raise DataError(
                f"the graph gives {found.shape} probabilities, expected {expected.shape}"
            )
        best = expected.max(axis=1)
        chosen = expected[np.arange(len(expected)), found.argmax(axis=1)]
        return cls(
            n_images=len(expected),
            difference=float(np.abs(expected - found).max(initial=0)),
            n_other_class=int((chosen < best - TIE).sum()),
        )

    @classmethod
    def total(cls, parts: Sequence["Agreement"]) -> "Agreement":
        """The agreement over several batches of images."""
        differences = np.array([part.difference for part in parts])
        return cls(
            n_images=sum(part.n_images for part in parts),
            difference=float(differences.max(initial=0)),  # NaN if one is
            n_other_class=sum(part.n_other_class for part in parts),
        )

    @property
    def holds(self) -> bool:
        """Whether every class is the same and no difference is above the bound; NaN never holds."""
        return self.n_other_class == 0 and self.difference <= MOST_DIFFERENCE

    def check(self, what: str) -> None:
        """Return if the agreement holds.

        Args:
            what: name of the graph in the message.

        Raises:
            DataError: it does not hold.
        """
        if not self.holds:
            raise DataError(
                f"{what} disagrees with PyTorch on {self.n_images} images: probabilities differ by up "
                f"to {self.difference:.1e}, expected at most {MOST_DIFFERENCE:.0e}, and "
                f"{self.n_other_class} images get another class, expected none; nothing was written. "
                "Export with another --opset, or the classifier alone with --no-encoder"
            )


def open_graph(path: Path) -> Callable[[np.ndarray], Float[np.ndarray, "m c"]]:
    """Load a graph into onnxruntime on the CPU.

    Args:
        path: .onnx file with one input.

    Returns:
        A function of a batch of rows, of any size, that returns their probabilities; it raises
        DataError where onnxruntime cannot compute them.

    Raises:
        DataError: onnxruntime cannot load the graph.
    """
    import onnxruntime

    with _explained(path.name):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()

    def probabilities(batch: np.ndarray) -> Float[np.ndarray, "m c"]:
        with _explained(path.name):
            found: np.ndarray = session.run(["probabilities"], {given.name: batch})[0]
        return found

    return probabilities


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # those of onnxruntime derive from nothing narrower
        raise DataError(
            f"onnxruntime cannot run {name}: {error!s:.300}; export with another --opset, or the "
            "classifier alone with --no-encoder"
        ) from error
