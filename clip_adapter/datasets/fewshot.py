"""K images a class: the same ones on every machine, chosen by content and not by position."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clip_adapter.datasets.errors import DatasetError, NotEnoughImagesError
from clip_adapter.datasets.index import DatasetIndex
from clip_adapter.datasets.splits import Split
from clip_adapter.shots import ALL_SHOTS

MAX_VAL_PER_CLASS = 4  # CoOp's protocol: min(K, 4) validation images a class

_FORMAT = b"clip-adapter few-shot split 1"
_STRICTNESS = {"train": 0, "val": 1, "test": 2}
_Ranking = dict[tuple[int, Split], list[int]]
"""Rows by label and split."""


@dataclass(frozen=True, eq=False)
class FewShotSplit:
    """The images one few-shot run learns from and selects on; rows are those of the index.

    Attributes:
        shots: Training images a class; `ALL_SHOTS` for as many as each has.
        seed: What the choice was drawn with.
        train_rows: `[classes * shots]`, class by class.
        val_rows: `[classes * min(shots, 4)]`, class by class.
    """

    shots: int
    seed: int
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]

    def fingerprint(self, image_sha256: Sequence[bytes]) -> str:
        """64 hex digits over shots, seed and the chosen images, given the index's digests.

        Independent of paths and row numbers: the same images make the same fingerprint.
        """
        digest = hashlib.sha256(_FORMAT)
        for number in (self.shots, self.seed, len(self.train_rows), len(self.val_rows)):
            digest.update(number.to_bytes(8, "big"))
        for row in (*self.train_rows, *self.val_rows):
            digest.update(image_sha256[row])
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FewShotSampler:
    """Draws few-shot splits of one index; what several have in common is worked out once.

    Attributes:
        index: Whose images are chosen.
    """

    index: DatasetIndex
    _ranked_by_seed: dict[int, _Ranking] = field(default_factory=dict, init=False, repr=False)

    def sample(self, *, shots: int, seed: int) -> FewShotSplit:
        """Choose as `sample_few_shot` does; raises what it raises."""
        _check(shots, seed)
        ranked = self._ranked(seed)
        train: list[int] = []
        val: list[int] = []
        for label, class_name in enumerate(self.index.source.class_names):
            ranked_train = ranked.get((label, "train"), [])
            ranked_val = ranked.get((label, "val"), [])
            n_train, n_borrowed = _shares(shots, len(ranked_train), len(ranked_val))
            needed = n_train + n_borrowed
            if len(ranked_train) < needed:
                raise NotEnoughImagesError(
                    class_name, len(ranked_train), needed, shots=shots, fitting=self._fitting()
                )
            train += ranked_train[:n_train]
            borrowed = ranked_train[::-1][:n_borrowed]
            val += ranked_val[:MAX_VAL_PER_CLASS][:shots] + borrowed
        return FewShotSplit(shots, seed, train_rows=_rows(train), val_rows=_rows(val))

    def _fitting(self) -> tuple[int, ...]:
        """Numbers of shots for which every class has enough: powers of two, the largest last.

        All shots alone, where no number fits but every class has an image to train on.
        """
        counts = [
            tuple(len(self._candidates.get((label, split), [])) for split in ("train", "val"))
            for label in range(len(self.index.source.class_names))
        ]
        most = min(_most_shots(*each) for each in counts)
        if most:
            powers = [2**exponent for exponent in range(most.bit_length())]
            return tuple(sorted({*powers, most}))
        return (ALL_SHOTS,) if all(n_train for n_train, _ in counts) else ()

    @cached_property
    def _candidates(self) -> _Ranking:
        return _candidates(self.index)

    def _ranked(self, seed: int) -> _Ranking:
        if seed not in self._ranked_by_seed:
            self._ranked_by_seed[seed] = {
                key: _ranked(self.index, rows, seed=seed)
                for key, rows in self._candidates.items()
                if key[1] != "test"
            }
        return self._ranked_by_seed[seed]


def sample_few_shot(index: DatasetIndex, *, shots: int, seed: int) -> FewShotSplit:
    """Choose `shots` training and min(shots, 4) validation images of every class.

    The images of a class are ranked by SHA-256 of (seed, image digest) and the first are taken:
    so the choice depends on neither the platform nor the order or names of files, smaller
    choices lie inside larger ones of the same seed, and an image added to train later displaces
    at most one shot. Validation images come from the val split; what it lacks (all, when there
    is none) from the far end of the ranked train split. All chosen images are distinct by
    content, none is in test, and an image that is given two labels is never chosen.

    `ALL_SHOTS` takes the whole train split, less what validation lacks, which then is half of a
    class at most.

    Raises:
        DatasetError: `shots` is below 1, or `seed` is not in 0..2**63-1.
        NotEnoughImagesError: A class has too few distinct images.
    """
    return FewShotSampler(index).sample(shots=shots, seed=seed)


def _check(shots: int, seed: int) -> None:
    if shots < 1:
        raise DatasetError(f"shots is {shots}; a few-shot split takes 1 image a class or more")
    if not 0 <= seed < 2**63:
        raise DatasetError(f"seed is {seed}; expected 0 or more, below 2**63")


def _shares(shots: int, n_train: int, n_val: int) -> tuple[int, int]:
    """How many images of a class's train split train, and how many of it validate."""
    lacking = max(0, min(shots, MAX_VAL_PER_CLASS) - n_val)
    if shots < ALL_SHOTS:
        return shots, lacking
    borrowed = min(lacking, n_train // 2)
    return max(1, n_train - borrowed), borrowed


def _most_shots(n_train: int, n_val: int) -> int:
    """The largest number of shots that a class has images for, those that validate included."""
    return next(
        shots for shots in range(n_train, -1, -1) if sum(_shares(shots, n_train, n_val)) <= n_train
    )


def _candidates(index: DatasetIndex) -> _Ranking:
    """One row for each distinct image with one label, in the strictest split it occurs in."""
    copies: dict[bytes, list[int]] = {}
    for row, digest in enumerate(index.image_sha256):
        copies.setdefault(digest, []).append(row)
    candidates: _Ranking = {}
    for rows in copies.values():
        labels = {int(index.labels[row]) for row in rows}
        if len(labels) == 1:
            split = max((index.splits[row] for row in rows), key=_STRICTNESS.__getitem__)
            row = min(
                (row for row in rows if index.splits[row] == split), key=index.paths.__getitem__
            )
            candidates.setdefault((labels.pop(), split), []).append(row)
    return candidates


def _ranked(index: DatasetIndex, rows: list[int], *, seed: int) -> list[int]:
    salt = _FORMAT + seed.to_bytes(8, "big")
    return sorted(rows, key=lambda row: hashlib.sha256(salt + index.image_sha256[row]).digest())


def _rows(rows: list[int]) -> NDArray[np.int64]:
    column = np.asarray(rows, dtype=np.int64)
    column.setflags(write=False)
    return column
