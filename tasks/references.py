"""The small values that travel between tasks instead of arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from clip_adapter.encoders import BUILT_IN, Precision
from clip_adapter.images import Augmentation, ResizeMode, augmented_views
from clip_adapter.runs import PromotionRecord
from clip_adapter.shots import shots_in_words
from feature_cache import Location

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

__all__ = [
    "EncodedDataset",
    "EncodedPart",
    "Encoding",
    "IndexedDataset",
    "Part",
    "Promotion",
    "TrainedRuns",
]


@dataclass(frozen=True, kw_only=True)
class IndexedDataset:
    """A dataset whose index is at rest.

    Attributes:
        root: of everything at rest.
        name: the slug of the dataset.
        folder: where its images lie on this machine.
        index_fingerprint: which of its indexes.
        class_names: as they stand in a prompt.
        templates: prompts with one `{}`.
        n_images: readable images.
        n_quarantined: files that are not used.
        n_leaked: distinct images that occur in both train and test.
        is_imported: whether it consists of features made elsewhere; then `folder` means nothing.
    """

    root: Location
    name: str
    folder: Path
    index_fingerprint: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    n_images: int
    n_quarantined: int
    n_leaked: int
    is_imported: bool = False

    def prompted(self, templates: tuple[str, ...]) -> "IndexedDataset":
        """The same images with other prompts; itself, if there are none."""
        return replace(self, templates=templates) if templates else self


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """With what a dataset is encoded, and which views of its images.

    Attributes:
        model: a name `load_encoder` knows; the built-in model when None.
        device: where to encode, in torch's spelling.
        precision: fp32, bf16 or fp16; another precision is another encoder.
        resize: the model's own way when None, else shortest (CLIP) or squash (CoOp).
        views: how many augmented views an image, beside the evaluation view.
        augmentation: how they are drawn: tip-adapter or coop.
        processes: load images in so many processes; 0 for threads.

    Raises:
        ViewError: more views than there are.
    """

    model: str | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    resize: ResizeMode | None = None
    views: int = 0
    augmentation: Augmentation = "tip-adapter"
    processes: int = 0

    def __post_init__(self) -> None:
        """Refuse views that there are not, before anything is done."""
        _ = self.view_numbers

    @property
    def model_name(self) -> str:
        """The model that encodes, chosen or not."""
        return self.model or BUILT_IN

    @property
    def view_numbers(self) -> list[int]:
        """The views of every image: the evaluation view, then the augmented ones."""
        return [0, *augmented_views(self.views, self.augmentation)]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several parts of nearly equal size.

    Attributes:
        number: counted from 0.
        of: how many there are.
    """

    number: int
    of: int

    def take(self, things: Mapping[_Key, _Value]) -> dict[_Key, _Value]:
        """Those of the things that lie in this part, in their order.

        >>> [Part(number=number, of=2).take({"a": 1, "b": 2, "c": 3}) for number in (0, 1)]
        [{'a': 1}, {'b': 2, 'c': 3}]
        """
        low, high = (len(things) * place // self.of for place in (self.number, self.number + 1))
        return dict(list(things.items())[low:high])


@dataclass(frozen=True, kw_only=True)
class EncodedPart:
    """What encoding some images came to.

    Attributes:
        n_encoded: views of distinct images that were encoded now.
        n_reused: views of distinct images whose feature was there already.
        seconds: spent encoding, decoding included.
    """

    n_encoded: int
    n_reused: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EncodedDataset:
    """A dataset of which every image and prompt has a feature at rest.

    Attributes:
        dataset: what was encoded.
        model: the encoder's name as it was asked for, or the label of an imported one.
        encoder: its fingerprint.
        precision: of its arithmetic.
        logit_scale: its inverse temperature.
        n_reused: views of distinct images whose feature was there already.
        n_encoded: views of distinct images that were encoded now.
        n_prompts_encoded: prompts that were encoded now.
        seconds: spent encoding images, decoding included.
        augmented_views: numbers of the views that training images have beside the image itself.
    """

    dataset: IndexedDataset
    model: str
    encoder: str
    precision: str
    logit_scale: float
    n_reused: int
    n_encoded: int
    n_prompts_encoded: int
    seconds: float
    augmented_views: tuple[int, ...] = ()

    def views_for(self, n_views: int) -> tuple[int, ...]:
        """The numbers of the first so many of them; fewer where there are fewer."""
        return self.augmented_views[:n_views]

    @property
    def images_per_second(self) -> float:
        """Encoding rate, 0 when nothing was encoded."""
        return self.n_encoded / self.seconds if self.seconds > 0 else 0.0

    @property
    def summary(self) -> str:
        """One line for a log."""
        return (
            f"{self.n_encoded} images encoded, {self.n_reused} reused, "
            f"{self.dataset.n_quarantined} quarantined"
        )


@dataclass(frozen=True, kw_only=True)
class TrainedRuns:
    """What a sweep did.

    Attributes:
        sweep_id: what its runs have in common in the run store; empty when nothing was trained.
        n_trained: runs recorded now.
        n_reused: runs that were on record already, with the same fingerprint.
        seconds: spent training and evaluating.
        fingerprints: of all its runs, recorded now or before.
    """

    sweep_id: str
    n_trained: int
    n_reused: int
    seconds: float
    fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What was decided about the champion.

    Attributes:
        record: the decision with its numbers, as it is at rest.
        is_new: whether it was made now; False where this very sweep was decided on before.
    """

    record: PromotionRecord
    is_new: bool

    @property
    def summary(self) -> str:
        """One line for a log."""
        record = self.record
        who = f"{record.method} at {shots_in_words(record.shots)}, seed {record.seed}"
        return f"{who}: {record.decision}, {record.reason}"
