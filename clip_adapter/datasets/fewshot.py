"""Few-shot splits: K images a class, sampled by content or read from published files."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_adapter.datasets.index import DatasetIndex
from clip_adapter.datasets.splits import Split
from clip_adapter.errors import DatasetError
from clip_adapter.shots import ALL_SHOTS, shots_in_words

MAX_VAL_PER_CLASS = 4  # CoOp's protocol: min(K, 4) validation images a class

_FORMAT = b"clip-adapter few-shot split 1"
_PUBLISHED = re.compile(
    r"shot_(?P<shots>\d{1,9})-seed_(?P<seed>\d{1,18})(\.json|_(train|val)\.jsonl)"
)
_STRICTNESS = {"train": 0, "val": 1, "test": 2}
_Ranking = dict[tuple[int, Split], list[int]]
"""Rows by label and split."""


@dataclass(frozen=True, eq=False)
class FewShotSplit:
    """The images that a few-shot run trains on and selects on, as rows of the index.

    Attributes:
        shots: number of training images a class; `ALL_SHOTS` for all of each class; of a budget, the
            mean number, rounded.
        seed: seed of the sample.
        train_rows: `[classes * shots]` rows, class by class; fewer where a class is short.
        val_rows: `[classes * min(shots, 4)]` rows, class by class; fewer where a class is short,
            none where no image is set aside to validate.
    """

    shots: int
    seed: int
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]

    def fingerprint(self, image_sha256: Sequence[bytes]) -> str:
        """64 hex digits over shots, seed and the digests of the chosen images.

        Independent of paths and row numbers: equal images have equal fingerprints.
        """
        digest = hashlib.sha256(_FORMAT)
        for number in (self.shots, self.seed, len(self.train_rows), len(self.val_rows)):
            digest.update(number.to_bytes(8, "big"))
        for row in (*self.train_rows, *self.val_rows):
            digest.update(image_sha256[row])
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FewShotSampler:
    """Samples few-shot splits of one index and computes once what they share.

    Attributes:
        index: index of the dataset.
        take_all: whether a class of too few images gives what it has, instead of an error.
        validation: whether images are set aside to validate. Without, the val split trains where the
            train split has too few images.
    """

    index: DatasetIndex
    take_all: bool = False
    validation: bool = True
    _ranked_by_seed: dict[int, _Ranking] = field(default_factory=dict, init=False, repr=False)

    def sample(self, *, shots: int, seed: int) -> FewShotSplit:
        """Choose images as `sample_few_shot` describes, with its errors."""
        _check(shots, seed)
        if all(split == "test" for _, split in self._candidates):
            raise DatasetError(
                f"all images of {self.index.source.name!r} are test images, so that nothing can be trained "
                "on them: train on another dataset"
            )
        ranked = self._ranked(seed)
        shares = _shares_of_short if self.take_all else _shares
        train: list[int] = []
        parts: list[tuple[str, list[int], list[int], int]] = []
        for label, class_name in enumerate(self.index.source.class_names):
            trainable = ranked.get((label, "train"), [])
            ranked_val = ranked.get((label, "val"), [])
            if not self.validation:
                trainable, ranked_val = trainable + ranked_val, []
            n_val = len(ranked_val) if self.validation else None
            n_train, n_borrowed = shares(shots, len(trainable), n_val)
            needed = n_train + n_borrowed
            if len(trainable) < needed:
                reason = self._too_few(class_name, len(trainable), needed, shots=shots)
                raise DatasetError(f"{reason}; {self._advice(shots)}")
            train += trainable[:n_train]
            own = ranked_val[:MAX_VAL_PER_CLASS][:shots]
            parts.append((class_name, own, trainable[n_train:][::-1], n_borrowed))
        val = self._validating(parts, train, shots=shots)
        return FewShotSplit(shots, seed, train_rows=_rows(train), val_rows=_rows(val))

    def _validating(
        self, parts: list[tuple[str, list[int], list[int], int]], train: list[int], *, shots: int
    ) -> list[int]:
        """Rows to validate on: of each class its own, and some of the rest, of no group that trains."""
        groups = self.index.groups
        in_training = {groups[row] for row in train} - {None}
        val: list[int] = []
        for class_name, own, rest, n_borrowed in parts:
            free = [row for row in rest if groups[row] not in in_training]
            if len(free) < n_borrowed and not self.take_all:
                raise DatasetError(
                    f"class {class_name!r} has too few images for {shots_in_words(shots)}: {n_borrowed} of "
                    f"its train split are to validate, and {len(free)} are of a group of which no image trains; "
                    "ask for fewer shots, add images of other groups, or set none aside (--no-validation)"
                )
            val += own + free[:n_borrowed]
        return val

    def draw(self, *, budget: int, seed: int) -> FewShotSplit:
        """Choose so many training images of all classes together, and none to validate.

        The images of the train split are ranked as `sample_few_shot` ranks those of a class, whatever
        their class, and the first are taken: classes get images by their prevalence, some perhaps
        none, and a smaller budget lies inside a larger one of the same seed.

        Args:
            budget: number of labelled images in all.
            seed: seed of the ranking.

        Raises:
            DatasetError: `budget` is below 2, `seed` is not in 0..2**63-1, the train split has fewer
                distinct images, or all that are drawn are of one class.
        """
        if budget < 2:
            raise DatasetError(f"budget is {budget}; expected 2 labelled images or more")
        _check(1, seed)
        name, n_classes = self.index.source.name, len(self.index.source.class_names)
        candidates = [
            row for (_, split), rows in self._candidates.items() if split == "train" for row in rows
        ]
        if len(candidates) < budget:
            raise DatasetError(
                f"the train split of dataset {name!r} has {len(candidates)} distinct images with one "
                f"label, {budget} are asked for: ask for fewer, or leave --budget out and use --shots all"
            )
        drawn = _ranked(self.index, candidates, seed=seed)[:budget]
        labels = self.index.labels
        if len({int(labels[row]) for row in drawn}) < 2:
            raise DatasetError(
                f"the {budget} images of dataset {name!r} that seed {seed} draws are all of one class, so "
                "that there is nothing to tell apart: ask for more images, or take another seed"
            )
        return FewShotSplit(
            max(1, round(budget / n_classes)),
            seed,
            train_rows=_rows(sorted(drawn, key=lambda row: int(labels[row]))),
            val_rows=_rows([]),
        )

    def _fitting(self) -> tuple[int, ...]:
        """Numbers of shots for which every class has enough: powers of two, the largest last.

        All shots alone, where no number fits but every class has an image to train on.
        """
        counts = [each[:2] for each in _counts(self.index, validation=self.validation)]
        most = min(_most_shots(*each) for each in counts)
        if most:
            powers = [2**exponent for exponent in range(most.bit_length())]
            return tuple(sorted({*powers, most}))
        return (ALL_SHOTS,) if all(n_train for n_train, _ in counts) else ()

    def _too_few(self, class_name: str, found: int, needed: int, *, shots: int) -> str:
        lacking = needed - shots
        borrowed = f" ({lacking} of them to validate on, which its val split lacks)"
        splits = "its train split" if self.validation else "its train and val splits"
        return (
            f"class {class_name!r} has too few images for {shots_in_words(shots)}: {found} distinct "
            f"images in {splits}, {needed} needed{borrowed if lacking > 0 else ''}"
        )

    def _advice(self, shots: int) -> str:
        """What to do where a class has too few images for some number of shots."""
        fitting = self._fitting()
        take_all = (
            ", or train on what such a class has (--short-classes take-all)" if fitting else ""
        )
        more = (
            "add images to the class (where no folders say otherwise, half of them train), sort them "
            "into train and test folders yourself, leave such classes out (--short-classes skip)"
            f"{take_all}"
        )
        if self.validation and not _short(_counts(self.index, validation=False), [shots]):
            more = (
                "set no image aside to validate, with which every class has enough for "
                f"{shots_in_words(shots)} (--no-validation), {more}"
            )
        if not fitting:
            return f"no other number of shots would do, so {more}"
        if fitting == (ALL_SHOTS,):
            return f"use --shots all, which takes of each class what it has, or {more}"
        listed = ",".join(map(str, fitting))
        return f"use --shots {listed} (every class has enough for {fitting[-1]}, and no more), or {more}"

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


def sample_few_shot(
    index: DatasetIndex, *, shots: int, seed: int, validation: bool = True
) -> FewShotSplit:
    """Choose `shots` training and min(shots, 4) validation images of every class.

    The images of a class are ranked by SHA-256 of (seed, image digest) and the first are taken:
    so the choice depends on neither the platform nor the order or names of files, smaller
    choices lie inside larger ones of the same seed, and an image added to train later displaces
    at most one shot. Validation images come from the val split; what it lacks (all, when there
    is none) from the far end of the ranked train split, of groups of which no image trains. All chosen
    images are distinct by content, none is in test, and an image that is given two labels is never chosen.

    `ALL_SHOTS` takes the whole train split, less what validation lacks, which then is half of a
    class at most.

    Without validation the ranked val split follows the ranked train split: the same images train
    where the train split has enough, and `ALL_SHOTS` takes all that are not in test.

    Args:
        index: index of the dataset.
        shots: labelled images a class, or `ALL_SHOTS`.
        seed: seed of the ranking.
        validation: whether images are set aside to validate.

    Raises:
        DatasetError: `shots` is below 1, `seed` is not in 0..2**63-1, or a class has too few distinct
            images.
    """
    return FewShotSampler(index, validation=validation).sample(shots=shots, seed=seed)


def short_classes(
    index: DatasetIndex, shots: Iterable[int], *, validation: bool = True
) -> tuple[int, ...]:
    """The labels of the classes without a test image, or with too few others for some of `shots`.

    Args:
        index: index of the dataset.
        shots: numbers of labelled images a class.
        validation: whether images are set aside to validate, as `FewShotSampler` has it.
    """
    asked, counts = tuple(shots), _counts(index, validation=validation)
    short = _short(counts, asked)
    return tuple(label for label, (*_, n_test) in enumerate(counts) if not n_test or label in short)


def most_shots(index: DatasetIndex, *, validation: bool = True) -> tuple[int, ...]:
    """The largest number of shots that each class has images for, by label; 0 if not for one.

    Images that validate are counted as `sample_few_shot` counts them, test images are not looked at.

    Args:
        index: index of the dataset.
        validation: whether images are set aside to validate, as `FewShotSampler` has it.
    """
    counts = _counts(index, validation=validation)
    return tuple(_most_shots(n_train, n_val) for n_train, n_val, _ in counts)


def read_few_shot_indices(
    folder: Path, index: DatasetIndex, *, shots: int, seed: int
) -> FewShotSplit:
    """Read a published choice and find its images, in one of two forms.

    - `shot_{shots}-seed_{seed}.json` of cross-modal adaptation (Lin et al. 2023,
      https://github.com/linzhiqiu/cross_modal_adaptation): `train` and `val`, each with a list `data`
      (or a list itself) of objects with `impath` and `label`.
    - `shot_{shots}-seed_{seed}_train.jsonl` and `..._val.jsonl` of 2SFS (Farina et al. 2025,
      https://github.com/FarinaMatteo/rethinking_fewshot_vlms): one object a line, with `_impath` and
      `_label`.

    Leading folders of a path that the dataset does not have are ignored. No file outside the dataset is
    opened.

    Raises:
        DatasetError: `shots` is below 1 or `seed` below 0; the files are missing or malformed, there are
            files of both forms, or they name an image that the index lacks or has under another label
            or in its test split, an image in both train and val, or not `shots` training images of
            every class.
    """
    if shots < 1 or seed < 0:
        raise DatasetError(f"shots is {shots} and seed {seed}; expected 1 or more, and 0 or more")
    stem = folder / f"shot_{shots}-seed_{seed}"
    items = _read_lines(stem) if _has_lines(stem) else _read_parts(stem)
    by_path = {stored: row for row, stored in enumerate(index.paths)}
    train, val = (
        [_published_row(item, by_path, index, path) for item in of_part] for path, of_part in items
    )
    _check_published(train, val, index=index, shots=shots, path=stem)
    return FewShotSplit(shots, seed, train_rows=_rows(train), val_rows=_rows(val))


def published_digest(folder: Path) -> str:
    """SHA-256 of the first choice of a publication, the one of the fewest shots and lowest seed, in hex.

    A publication is known by it, whatever further seeds and numbers of shots lie in the folder.

    Raises:
        DatasetError: the folder holds no published choice.
    """
    by_choice: dict[tuple[int, int], list[Path]] = {}
    for file in sorted(folder.glob("shot_*-seed_*")):
        if found := _PUBLISHED.fullmatch(file.name):
            by_choice.setdefault((int(found["shots"]), int(found["seed"])), []).append(file)
    if not by_choice:
        raise DatasetError(
            f"{folder} holds no published choice: expected files shot_K-seed_S.json, or "
            "shot_K-seed_S_train.jsonl and shot_K-seed_S_val.jsonl"
        )
    digest = hashlib.sha256()
    for file in by_choice[min(by_choice)]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _check(shots: int, seed: int) -> None:
    if shots < 1:
        raise DatasetError(f"shots is {shots}; a few-shot split takes 1 image a class or more")
    if not 0 <= seed < 2**63:
        raise DatasetError(f"seed is {seed}; expected 0 or more, below 2**63")


def _shares(shots: int, n_train: int, n_val: int | None) -> tuple[int, int]:
    """Number of a class's images for training that train, and number that validate.

    Args:
        shots: number of labelled images a class.
        n_train: number of its images in the train split, or in both splits where none validates.
        n_val: number of its images in the val split; None where no image validates.
    """
    lacking = 0 if n_val is None else max(0, min(shots, MAX_VAL_PER_CLASS) - n_val)
    if shots < ALL_SHOTS:
        return shots, lacking
    borrowed = min(lacking, n_train // 2)
    return max(1, n_train - borrowed), borrowed


def _shares_of_short(shots: int, n_train: int, n_val: int | None) -> tuple[int, int]:
    """The shares of a class; of one with too few images for them, what it has.

    Where the val split has none, one image validates if another is left to train. Up to `shots` of
    the others train, and the rest validates.
    """
    wanted, lacking = _shares(shots, n_train, n_val)
    if n_train == 0 or wanted + lacking <= n_train:
        return wanted, lacking
    reserved = 1 if n_val == 0 and n_train > 1 else 0
    n_shots = min(wanted, n_train - reserved)
    return n_shots, n_train - n_shots


def _short(counts: Sequence[tuple[int, int | None, int]], shots: Sequence[int]) -> set[int]:
    """The labels of the classes with too few images to train and validate."""
    return {
        label
        for label, (n_train, n_val, _) in enumerate(counts)
        if any(sum(_shares(each, n_train, n_val)) > n_train for each in shots)
    }


def _most_shots(n_train: int, n_val: int | None) -> int:
    """The largest number of shots that a class has images for, those that validate included."""
    return next(
        shots for shots in range(n_train, -1, -1) if sum(_shares(shots, n_train, n_val)) <= n_train
    )


def _counts(index: DatasetIndex, *, validation: bool = True) -> list[tuple[int, int | None, int]]:
    """Numbers of distinct images of each class that may train, that may only validate, and test.

    Without validation both splits train, and None validates.
    """
    candidates = _candidates(index)

    def n_of(label: int, split: Split) -> int:
        return len(candidates.get((label, split), []))

    return [
        (
            n_of(label, "train") + (0 if validation else n_of(label, "val")),
            n_of(label, "val") if validation else None,
            n_of(label, "test"),
        )
        for label in range(len(index.source.class_names))
    ]


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


_Items = list[tuple[Path, list[Any]]]
"""The file and the objects of the training images, then those of the validation images."""


def _has_lines(stem: Path) -> bool:
    """Whether a choice is published as lines of JSON; raises `DatasetError` if in both forms."""
    lines = [
        path
        for path in (_named(stem, "_train.jsonl"), _named(stem, "_val.jsonl"))
        if path.is_file()
    ]
    single = _named(stem, ".json")
    if lines and single.is_file():
        raise DatasetError(
            f"{single} and {lines[0]} both choose images for these shots and this seed: keep one of the "
            "forms"
        )
    return bool(lines)


def _named(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}): expected one file for each number of shots and "
            "each seed, shot_{K}-seed_{S}.json, or two, shot_{K}-seed_{S}_train.jsonl and ..._val.jsonl"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path} is not text in UTF-8: {error}") from error


def _read_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is not JSON: {error}") from error


def _read_lines(stem: Path) -> _Items:
    items: _Items = []
    for part in ("train", "val"):
        path = _named(stem, f"_{part}.jsonl")
        found = [
            _read_json(line, f"line {number} of {path}")
            for number, line in enumerate(_read_text(path).splitlines(), 1)
            if line.strip()
        ]
        items.append((path, found))
    return items


def _read_parts(stem: Path) -> _Items:
    path = _named(stem, ".json")
    content = _read_json(_read_text(path), str(path))
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds a {type(content).__name__}, expected an object")
    items: _Items = []
    for part in ("train", "val"):
        found = content.get(part)
        found = found.get("data") if isinstance(found, dict) else found
        if not isinstance(found, list):
            raise DatasetError(f"{path} has no list of images under {part!r}")
        items.append((path, found))
    return items


def _published_row(item: Any, by_path: dict[str, int], index: DatasetIndex, path: Path) -> int:
    # The lines of 2SFS are the attributes of an object of CoOp's loader.
    named = (
        {key.removeprefix("_"): value for key, value in item.items()}
        if isinstance(item, dict)
        else {}
    )
    image, label = named.get("impath"), named.get("label")
    if not isinstance(image, str) or type(label) is not int:
        raise DatasetError(f"{path}: {item!r:.300} is no image, expected impath and label")
    row = _find(image, by_path)
    if row is None:
        raise DatasetError(
            f"{path} names {image!r:.300}, which is no readable image of dataset {index.source.name!r}"
        )
    if index.labels[row] != label:
        raise DatasetError(
            f"{path} gives {image!r:.300} the label {label!r}, in the dataset it has "
            f"{int(index.labels[row])}"
        )
    if index.splits[row] == "test":
        raise DatasetError(f"{path} names {image!r:.300}, an image of the test split")
    return row


def _find(published: str, by_path: dict[str, int]) -> int | None:
    parts = PurePosixPath(published).parts
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((by_path[end] for end in ends if end in by_path), None)


def _check_published(
    train: list[int], val: list[int], *, index: DatasetIndex, shots: int, path: Path
) -> None:
    digests = [index.image_sha256[row] for row in (*train, *val)]
    if len(set(digests)) < len(digests):
        raise DatasetError(f"{path} chooses an image twice; each trains or validates once")
    counts = np.bincount(index.labels[train], minlength=len(index.source.class_names))
    if set(counts.tolist()) != {shots}:
        wrong = int(np.flatnonzero(counts != shots)[0])
        raise DatasetError(
            f"{path} chooses {counts[wrong]} training images of class "
            f"{index.source.class_names[wrong]!r}, expected {shots}"
        )
