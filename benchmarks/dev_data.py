"""The six sets of real features that were made for development.

The folder `clip-vit-b-32` of CLIP_ADAPTER_TEST_DATA holds `dev_*.npz`, a set each: features of CLIP
ViT-B/32 of 16 shots a class (means of ten augmented views), of up to four images a class to select by,
and of images to judge by (single views); and prototypes that come from none of these images. No test image of a
dataset is read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clip_adapter.methods import FewShotTask

FOLDER = "CLIP_ADAPTER_TEST_DATA"
"""Variable that names the folder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DevSet:
    """One set.

    Attributes:
        name: name of the set.
        arrays: its arrays by name.
    """

    name: str
    arrays: dict[str, np.ndarray]

    def task(self, shots: int, draw: int) -> FewShotTask:
        """A task of some shots a class, in the order of the set; the draw is the seed."""
        labels = self.arrays["train_labels"].astype(np.int64)
        generator = np.random.default_rng(draw)
        chosen = [
            generator.permutation(np.flatnonzero(labels == label))[:shots]
            for label in np.unique(labels)
        ]
        rows = np.sort(np.concatenate(chosen))
        prototypes = self.arrays["prototypes"].astype(np.float32)
        return FewShotTask(
            train_features=self.arrays["train_features"][rows].astype(np.float32),
            train_labels=labels[rows],
            val_features=self.arrays["val_features"].astype(np.float32),
            val_labels=self.arrays["val_labels"].astype(np.int64),
            prompt_features=prototypes[:, None],
            logit_scale=100.0,
            class_names=tuple(str(number) for number in range(len(prototypes))),
            shots=shots,
            seed=draw,
        )

    @property
    def judged(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the images to judge by."""
        labels = self.arrays["dev_labels"].astype(np.int64)
        return self.arrays["dev_features"].astype(np.float32), labels


def dev_sets(folder: Path) -> list[DevSet]:
    """All sets of a folder.

    Raises:
        SystemExit: there is none.
    """
    found = []
    for path in sorted((folder / "clip-vit-b-32").glob("dev_*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found.append(DevSet(name=path.stem.removeprefix("dev_"), arrays=dict(arrays)))
    if not found:
        raise SystemExit(
            f"{folder} has no clip-vit-b-32/dev_*.npz: set {FOLDER} to a folder that has"
        )
    return found
