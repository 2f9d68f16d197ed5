"""Checks a dataset before it is trained on: what is wrong with its files, and how to mend it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from clip_adapter.datasets import (
    DatasetIndex,
    FolderOptions,
    build_index,
    most_shots,
    open_dataset,
    short_classes,
)
from clip_adapter.datasets.class_names import prompts_badly
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.shots import ALL_SHOTS, shots_in_words

Severity = Literal["problem", "warning", "note"]

MOST_BAD = 0.05
"""Fraction of unreadable files above which a dataset is not indexed by default."""
_MOST_EXAMPLES = 5
_SHOTS = (1, 4, 16)

_EXCLUDED: dict[str, tuple[Severity, str]] = {
    "two labels": ("problem", "keep each picture in the folder of one class and remove the others"),
    "no label": ("note", "nothing; they are left for prediction"),
    "hidden": ("note", "nothing; rename those that are images"),
    "ignored": ("note", "nothing; change --ignore if they are wanted"),
    "not an image": ("note", "nothing; convert those that are meant as images to JPEG or PNG"),
    "describes the dataset": ("note", "nothing; it is read"),
    "outside the class folders": ("warning", "move them into the folder of their class"),
    "short class": ("warning", "add images of these classes"),
    "link in a circle": ("warning", "remove the link"),
    "folder linked twice": ("warning", "remove all links to the folder but one"),
    "no path": ("warning", "give each row the path of an image"),
    "a link": ("note", "nothing; a link in an archive is not followed"),
    "a pipe": ("note", "nothing; it is no file"),
    "a device": ("note", "nothing; it is no file"),
    "a sparse file": ("warning", "pack it without --sparse"),
    "replaced by a later member of its name": ("warning", "give each image a name of its own"),
    "its name leads out of the archive": ("warning", "rename it in the archive"),
    "not in the split file": ("note", "nothing; the published split leaves them out"),
}
"""How serious each reason is for which files are left out, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong with a dataset, or worth knowing.

    Attributes:
        kind: what was looked for, in a few words, as "leak".
        severity: "problem" if numbers would be wrong or training fails, "warning" if they may be,
            "note" for what needs no change.
        message: what was found.
        fix: what to do.
        examples: some of the files or classes.
    """

    kind: str
    severity: Severity
    message: str
    fix: str
    examples: tuple[str, ...] = ()


def check_dataset(index: DatasetIndex) -> list[Finding]:
    """Look for what makes results wrong or training fail, in the index of a dataset.

    The index is not stored, and no image is read.

    Returns:
        Problems first, then warnings, then notes; empty if there is nothing to say.
    """
    found = [
        *_unreadable(index),
        *_copies(index),
        *_divided_groups(index),
        *_lost_classes(index),
        *_missing_splits(index),
        *_tiny_classes(index),
        *_class_names(index),
        *_excluded(index),
    ]
    order = ("problem", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def index_folder(
    dataset: str, *, images: Path | None = None, options: FolderOptions, reporter: Reporter
) -> DatasetIndex:
    """Index a user's own images without storing anything, however many files cannot be used.

    A class may have no image in the index.

    Args:
        dataset: imagefolder:PATH, or another form of own data.
        images: folder of the images of a table, if it is not that of the table.
        options: what the user says about the folder.
        reporter: where to report progress.

    Raises:
        DatasetError: the folder is missing, not laid out as expected, or holds no readable image.
    """
    source = open_dataset(dataset, data=Path(), images=images, options=options)
    done = 0
    total = len(source.files)
    with reporter.progress(f"reading {source.name}", total=total, unit="files") as advance:

        def show(n_files: int) -> None:
            nonlocal done
            advance(n_files - done)
            done = n_files

        return build_index(source, max_bad_fraction=1.0, may_lose_classes=True, progress=show)


def _unreadable(index: DatasetIndex) -> Iterator[Finding]:
    bad = index.quarantined
    if not bad:
        return
    n_files = len(bad) + len(index)
    too_many = len(bad) > MOST_BAD * n_files
    yield Finding(
        kind="unreadable",
        severity="problem" if too_many else "warning",
        message=f"{_number(len(bad), 'file')} of {n_files:,} cannot be read as an image",
        fix="repair or remove them"
        + (", or accept as many with --max-bad-fraction" if too_many else ""),
        examples=_some(f"{file.path}: {file.reason}" for file in bad),
    )


def _copies(index: DatasetIndex) -> Iterator[Finding]:
    """Pictures that occur more than once: under two labels, in two splits, or within one."""
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(index.image_sha256):
        rows[digest].append(row)
    groups = [each for each in rows.values() if len(each) > 1]
    kinds: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        kinds[_kind_of_copies(index, group)].append(group)
    for kind, (severity, what, fix) in _COPIES.items():
        if kind in kinds:
            yield Finding(
                kind=kind,
                severity=severity,
                message=f"{_number(len(kinds[kind]), 'picture')} {what}",
                fix=fix,
                examples=_some(_places(index, group) for group in kinds[kind]),
            )


_COPIES: dict[str, tuple[Severity, str, str]] = {
    "two labels": (
        "problem",
        "in the folders of two classes or more",
        "keep each in the folder of one class and remove the others",
    ),
    "leak": (
        "problem",
        "in both train and test, so that accuracy on test is too high",
        "remove the copy in train or the one in test",
    ),
    "copies across splits": (
        "warning",
        "in two splits, one of them val",
        "remove the copy in val",
    ),
    "copies": (
        "warning",
        "more than once within a split",
        "remove all copies but one; they count as several images",
    ),
}


def _kind_of_copies(index: DatasetIndex, group: list[int]) -> str:
    splits = {index.splits[row] for row in group}
    if len({int(index.labels[row]) for row in group}) > 1:
        return "two labels"
    if {"train", "test"} <= splits:
        return "leak"
    return "copies across splits" if len(splits) > 1 else "copies"


def _places(index: DatasetIndex, group: list[int]) -> str:
    return " = ".join(f"{index.paths[row]} ({index.splits[row]})" for row in group[:4])


def _divided_groups(index: DatasetIndex) -> Iterator[Finding]:
    divided = index.divided_groups()
    if divided:
        yield Finding(
            kind="groups across splits",
            severity="problem",
            message=f"{_number(len(divided), 'group')} with images in several splits, so that accuracy on "
            "test may be too high",
            fix="give all images of a group one split, or none, and they are divided by groups",
            examples=_some(divided),
        )


def _lost_classes(index: DatasetIndex) -> Iterator[Finding]:
    lost = [name for name, found in _counts(index).items() if not found]
    if lost:
        yield Finding(
            kind="no images",
            severity="problem",
            message=f"{_number(len(lost), 'class', 'classes')} without an image that can be used",
            fix="mend what the other findings say of its files, add images, or leave the class out with "
            "--ignore FOLDER",
            examples=_some(lost),
        )


def _missing_splits(index: DatasetIndex) -> Iterator[Finding]:
    counts = _counts(index)
    for split in ("train", "test"):
        without = [name for name, found in counts.items() if found and not found[split]]
        if without:
            yield Finding(
                kind=f"no {split} images",
                severity="problem",
                message=f"{_number(len(without), 'class', 'classes')} without an image in {split}",
                fix=f"add images of them to {split}, or leave the classes out with --ignore",
                examples=_some(without),
            )


def _tiny_classes(index: DatasetIndex) -> Iterator[Finding]:
    counts = _counts(index)
    most = {
        name: shots
        for name, shots in zip(counts, most_shots(index), strict=True)
        if counts[name]["train"] and counts[name]["test"]  # others are a problem of their own
    }
    for fewer, shots in pairwise((0, *_SHOTS)):
        tiny = {name: found for name, found in most.items() if fewer <= found < shots}
        if tiny:
            yield Finding(
                kind="tiny classes",
                severity="warning",
                message=f"{_number(len(tiny), 'class', 'classes')} with too few train images for "
                f"{shots_in_words(shots)}, with those to validate on that val lacks",
                fix=_for_tiny_classes(index, min(most.values()), shots=shots),
                examples=_some(f"{name}: {shots_in_words(found)}" for name, found in tiny.items()),
            )


def _for_tiny_classes(index: DatasetIndex, fitting: int, *, shots: int) -> str:
    if min(most_shots(index, validation=False)) >= shots:
        fewer = (
            "set no image aside to validate, with which every class has enough for "
            f"{shots_in_words(shots)} (--no-validation), "
        )
    else:
        fewer = ""
    if fitting:
        fewer = f"train with --shots {fitting}{' or fewer' if fitting > 1 else ''}, {fewer}"
    elif not short_classes(index, [ALL_SHOTS]):
        fewer = f"train with --shots all, {fewer}"
    elif not fewer:
        return "add images, or leave the classes out with --short-classes skip"
    return f"add images, {fewer}or say what to do with them: --short-classes skip or take-all"


def _class_names(index: DatasetIndex) -> Iterator[Finding]:
    bad = [
        f"{name!r} {reason}"
        for name in index.source.class_names
        if (reason := prompts_badly(name)) is not None
    ]
    if bad:
        yield Finding(
            kind="class names",
            severity="warning",
            message=f"{_number(len(bad), 'class name')} that make poor prompts",
            fix="name them in a file with a line `folder,name` for each: --class-names FILE",
            examples=_some(bad),
        )


def _excluded(index: DatasetIndex) -> Iterator[Finding]:
    paths: dict[str, list[str]] = defaultdict(list)
    for file in index.excluded:
        paths[file.reason].append(file.path)
    for reason, found in paths.items():
        severity, fix = _EXCLUDED.get(reason, ("warning", "look at them"))
        yield Finding(
            kind="left out",
            severity=severity,
            message=f"{_number(len(found), 'file')} left out: {reason}",
            fix=fix,
            examples=_some(found),
        )


def _counts(index: DatasetIndex) -> dict[str, Counter[str]]:
    """Number of images of each split, by class."""
    counts: list[Counter[str]] = [Counter() for _ in index.source.class_names]
    for label, split in zip(index.labels.tolist(), index.splits, strict=True):
        counts[label][split] += 1
    return dict(zip(index.source.class_names, counts, strict=True))


def _some(examples: Iterable[str]) -> tuple[str, ...]:
    listed = list(examples)
    more = len(listed) - _MOST_EXAMPLES
    shown = tuple(listed[:_MOST_EXAMPLES])
    return (*shown, f"and {more:,} more") if more > 0 else shown


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
