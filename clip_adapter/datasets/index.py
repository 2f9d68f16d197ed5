"""The index of a dataset: digests, sizes, labels and splits of its images, and unreadable files."""

import hashlib
import json
import os
import shlex
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from clip_adapter.datasets.folder_walk import NOT_AN_IMAGE, is_no_image
from clip_adapter.datasets.sources import ExcludedFile, ImageSource, LabelledFile
from clip_adapter.datasets.splits import (
    SPLITS,
    Split,
    assign_splits,
    join_groups,
    spread_over_groups,
)
from clip_adapter.errors import DatasetError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import (
    NO_FILE,
    ImageReader,
    UnreadableImageError,
    check_header,
    image_size,
    open_images,
)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def prefetch_map(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: int
) -> Iterator[_Result]:
    """Yield `function(item)` for every item, in order, while the next are being computed.

    At most `2 * workers` are computed ahead. The first exception cancels the items that were not
    begun. With one worker everything happens in the thread of the caller.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="prefetch-map") as pool:
        coming: deque[Future[_Result]] = deque(
            pool.submit(function, item) for item in islice(waiting, 2 * workers)
        )
        try:
            while coming:
                result = coming.popleft().result()
                coming.extend(pool.submit(function, item) for item in islice(waiting, 1))
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_FORMAT = "clip-adapter dataset index 1"
_CHUNK = 64  # files a task of the pool, which costs as much as some ten reads
_Number = TypeVar("_Number", np.int32, np.int64)
KnownSizes = Mapping[bytes, tuple[int, int]]
"""Width and height of images that were decoded before, by the SHA-256 digest of their files."""
_NOTHING_KNOWN: KnownSizes = MappingProxyType({})
KnownSplits = Mapping[bytes, Split]
"""Splits of images that were assigned before, by the SHA-256 digest of their files."""
_NONE_ASSIGNED: KnownSplits = MappingProxyType({})


@dataclass(frozen=True)
class QuarantinedFile:
    """A file of a dataset that could not be read as an image.

    Attributes:
        path: POSIX path relative to the folder of the dataset.
        reason: why it could not be read.
        n_bytes: size of the file; None if it could not be read.
    """

    path: str
    reason: str
    n_bytes: int | None


class _Row(NamedTuple):
    path: str
    image_sha256: bytes
    label: int
    split: Split | None
    group: str | None
    width: int
    height: int
    n_bytes: int


@dataclass(frozen=True, eq=False)
class DatasetIndex:
    """The readable images of a dataset, one row each, sorted by path; `n` rows.

    Attributes:
        source: the dataset that was indexed.
        paths: `n` POSIX paths relative to `source.folder`.
        image_sha256: `n` digests of the files, 32 bytes each; copies share one.
        labels: `[n]`, positions in `source.class_names`.
        splits: `n` of "train", "val", "test".
        groups: `n` group names, or None where the dataset has none.
        widths: `[n]`, width of the upright image in pixels.
        heights: `[n]`, height of the upright image in pixels.
        n_bytes: `[n]`, size of the file in bytes.
        quarantined: files that could not be read as an image, sorted by path.
        excluded: other files that are not used, sorted by path.
    """

    source: ImageSource
    paths: tuple[str, ...]
    image_sha256: tuple[bytes, ...]
    labels: NDArray[np.int64]
    splits: tuple[Split, ...]
    groups: tuple[str | None, ...]
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    n_bytes: NDArray[np.int64]
    quarantined: tuple[QuarantinedFile, ...]
    excluded: tuple[ExcludedFile, ...] = ()

    def __len__(self) -> int:
        """The number of readable images."""
        return len(self.paths)

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits over the name, the class names and every row's path, digest, label, split.

        The name is the one under which the dataset was first indexed.

        Independent of the location of the folder, of file times and of the order of rows. Templates
        are not included: they belong to the run.
        """
        rows = sorted(
            (path, digest.hex(), int(label), split)
            for path, digest, label, split in zip(
                self.paths, self.image_sha256, self.labels, self.splits, strict=True
            )
        )
        name = self.source.fingerprint_name or self.source.name
        document = json.dumps([_FORMAT, name, self.source.class_names, rows])
        return hashlib.sha256(document.encode("ascii")).hexdigest()

    def rows(self, split: Split) -> NDArray[np.int64]:
        """The row numbers of one split, ascending."""
        return np.flatnonzero(np.asarray(self.splits) == split).astype(np.int64)

    def leaks(self) -> list[bytes]:
        """The digests of images that occur in both train and test, sorted."""
        digests: dict[str, set[bytes]] = {"train": set(), "val": set(), "test": set()}
        for digest, split in zip(self.image_sha256, self.splits, strict=True):
            digests[split].add(digest)
        return sorted(digests["train"] & digests["test"])

    def divided_groups(self) -> list[str]:
        """The groups that have images in train and in another split, or in val and test, sorted."""
        splits: dict[str, set[Split]] = {}
        for group, split in zip(self.groups, self.splits, strict=True):
            if group is not None:
                splits.setdefault(group, set()).add(split)
        return sorted(group for group, found in splits.items() if len(found) > 1)


def build_index(  # noqa: PLR0913  # what is known, and how to read, each by its name
    source: ImageSource,
    *,
    max_bad_fraction: float = 0.05,
    progress: Callable[[int], None] | None = None,
    known: KnownSizes = _NOTHING_KNOWN,
    known_splits: KnownSplits = _NONE_ASSIGNED,
    may_lose_classes: bool = False,
    workers: int = 2,
) -> DatasetIndex:
    """Read every file of `source` once: digest it, decode it, quarantine what is broken.

    The content of a file is never guessed from its name or time: every byte is read and digested, and
    the same bytes are decoded. Files whose digest is known are not decoded again. A file that is an
    image neither by its name nor by its first bytes is not read further and excluded as "not an
    image". An image in two classes is excluded from both, with all its copies. Files without a published
    split get one by `assign_splits`.

    Args:
        source: the dataset to index.
        max_bad_fraction: fraction of unreadable files, of these and the readable images, above which
            indexing fails.
        progress: function called now and then, and at the end, with the number of files done.
        known: sizes of images that were decoded before.
        known_splits: splits that images keep, unless one is published, or their class would have no
            image in train or none in test.
        may_lose_classes: whether a class may have no image that can be used.
        workers: number of threads that read and decode; the index does not depend on it.

    Raises:
        DatasetError: there are no files, none is readable, too many are unreadable, or of a class
            none is left, unless `may_lose_classes`.
    """
    good: list[_Row] = []
    bad: list[QuarantinedFile] = []
    other: list[ExcludedFile] = []
    files = sorted(source.files, key=attrgetter("path"))
    chunks = [files[first : first + _CHUNK] for first in range(0, len(files), _CHUNK)]
    examine = partial(_examine_chunk, source, known=known)
    for outcomes in prefetch_map(examine, chunks, workers=workers):
        good += [each for each in outcomes if isinstance(each, _Row)]
        bad += [each for each in outcomes if isinstance(each, QuarantinedFile)]
        other += [each for each in outcomes if isinstance(each, ExcludedFile)]
        if progress is not None:
            progress(len(good) + len(bad) + len(other))
    n_images = len(good) + len(bad)
    if not good or len(bad) > max_bad_fraction * n_images:
        raise DatasetError(_too_many_bad(source, bad, n_images, limit=max_bad_fraction))
    rows, ambiguous = _split_off_two_labels(good)
    other += [ExcludedFile(row.path, "two labels") for row in ambiguous]
    if not may_lose_classes:
        _check_classes(source, rows, bad=bad, excluded=other)
    if ambiguous:
        source = replace(source, notes=(*source.notes, _two_labels(source, ambiguous)))
    index = _assemble(source, rows, bad, other, splits=_splits(rows, known_splits))
    if divided := index.divided_groups():
        notes = (*source.notes, _groups_divided(source, divided))
        index = replace(index, source=replace(source, notes=notes))
    return index


def _examine_chunk(
    source: ImageSource, files: list[LabelledFile], *, known: KnownSizes
) -> list[_Row | QuarantinedFile | ExcludedFile]:
    measure = partial(_measure, known=known, max_pixels=source.read.max_pixels)
    with open_images(source.folder, source.read) as reader:
        return [_examine(reader, file, measure=measure) for file in files]


def _measure(data: bytes, digest: bytes, *, known: KnownSizes, max_pixels: int) -> tuple[int, int]:
    size = known.get(digest)
    if size is None:
        return image_size(data, max_pixels=max_pixels)
    if size[0] * size[1] > max_pixels:  # it may have been allowed before, and not now
        check_header(data, max_pixels=max_pixels)
    return size


def _examine(
    reader: ImageReader,
    file: LabelledFile,
    *,
    measure: Callable[[bytes, bytes], tuple[int, int]],
) -> _Row | QuarantinedFile | ExcludedFile:
    n_bytes = None
    try:
        if is_no_image(reader, file.path):
            return ExcludedFile(file.path, NOT_AN_IMAGE)
        data = reader.read(file.path)
        n_bytes = len(data)
        digest = hashlib.sha256(data).digest()
        width, height = measure(data, digest)
    except UnreadableImageError as error:
        # A name that is not UTF-8 could be neither stored nor printed.
        shown = file.path.encode("utf-8", "backslashreplace").decode("utf-8")
        return QuarantinedFile(shown, escape_control_characters(error.reason), n_bytes)
    return _Row(file.path, digest, file.label, file.split, file.group, width, height, n_bytes)


def _splits(rows: Sequence[_Row], known: KnownSplits) -> tuple[Split, ...]:
    """The published split of each row, else the one it is assigned.

    Where folders or a list make a val split, no other image is added to it. What is known does not count
    in a class of which it would leave none to train on or none to test on. Images of a group that has
    published splits get the one that most of these images have.
    """
    published = {row.image_sha256: row.split for row in rows if row.split is not None}
    among: Sequence[Split] = ("train", "test") if "val" in published.values() else SPLITS
    assigned: dict[bytes, Split] = {}
    if None in {row.split for row in rows}:
        labelled = [(row.image_sha256, row.label) for row in rows]
        groups = [(row.image_sha256, row.group) for row in rows if row.group is not None]
        fixed = {**spread_over_groups(published, groups), **published}
        assigned = assign_splits(labelled, known={**known, **fixed}, among=among, groups=groups)
        anew = _one_sided(labelled, {**assigned, **published}, fixed, join_groups(groups))
        if anew:
            kept = {digest: split for digest, split in assigned.items() if digest not in anew}
            kept |= fixed
            assigned = assign_splits(labelled, known=kept, among=among, groups=groups)
    # A copy without a split has that of the image, also where its group goes elsewhere.
    assigned |= published
    return tuple(row.split or assigned[row.image_sha256] for row in rows)


def _one_sided(
    labelled: Sequence[tuple[bytes, int]],
    splits: KnownSplits,
    fixed: Collection[bytes],
    unit_of: Mapping[bytes, bytes],
) -> set[bytes]:
    """Images to assign anew: of classes without train or test images, with all of their groups.

    Such a class had its splits from folders that are no longer there, or from a list. It has two images
    or groups that are not fixed.
    """
    found: dict[int, set[Split]] = defaultdict(set)
    undecided: dict[int, set[bytes]] = defaultdict(set)
    for digest, label in labelled:
        found[label].add(splits[digest])
        if digest not in fixed:
            undecided[label].add(unit_of.get(digest, digest))
    units = {
        unit
        for label, each in undecided.items()
        if len(each) > 1 and not {"train", "test"} <= found[label]
        for unit in each
    }
    return (
        {digest for digest, _ in labelled if unit_of.get(digest, digest) in units}
        if units
        else units
    )


def _split_off_two_labels(rows: Sequence[_Row]) -> tuple[list[_Row], list[_Row]]:
    """The rows of images in one class, and those of images that another class holds as well."""
    labels: dict[bytes, int] = {}
    twice = {
        row.image_sha256
        for row in rows
        if labels.setdefault(row.image_sha256, row.label) != row.label
    }
    if not twice:
        return list(rows), []
    return (
        [row for row in rows if row.image_sha256 not in twice],
        [row for row in rows if row.image_sha256 in twice],
    )


def _two_labels(source: ImageSource, rows: Sequence[_Row]) -> str:
    paths: dict[bytes, dict[int, str]] = {}  # one path of each class
    for row in rows:
        paths.setdefault(row.image_sha256, {}).setdefault(row.label, row.path)
    shown = "; ".join(" = ".join(each.values()) for each in list(paths.values())[:3])
    more = f"; and {len(paths) - 3} more" if len(paths) > 3 else ""
    return (
        f"{len(paths)} images of {source.name!r} have two labels and are left out of train, val and "
        f"test, with all {len(rows)} files: {shown}{more}; remove the copies in the wrong class"
    )


def _groups_divided(source: ImageSource, groups: Sequence[str]) -> str:
    shown = ", ".join(map(repr, groups[:3])) + (", ..." if len(groups) > 3 else "")
    return (
        f"groups of {source.name!r} with images in several splits, as the given splits have it: "
        f"{len(groups)} ({shown}); accuracy on test may be too high; give all images of a group one split, or none"
    )


def _check_classes(
    source: ImageSource,
    rows: Sequence[_Row],
    *,
    bad: Sequence[QuarantinedFile],
    excluded: Sequence[ExcludedFile],
) -> None:
    lost = {file.label for file in source.files} - {row.label for row in rows}
    if not lost:
        return
    reasons = {file.path: f"unreadable: {file.reason}" for file in bad}
    reasons |= {file.path: file.reason for file in excluded}
    label = min(lost)
    paths = [file.path for file in source.files if file.label == label]
    counts = Counter(reasons.get(path, "unreadable") for path in paths)
    why = "; ".join(f"{reason} ({count})" for reason, count in counts.most_common(3))
    raise DatasetError(
        f"no image of class {source.class_names[label]!r} in {source.folder} can be used: {why}, as "
        f"{escape_control_characters(paths[0])}; add images, or leave the class out (--ignore FOLDER)"
    )


def _assemble(
    source: ImageSource,
    rows: Sequence[_Row],
    bad: Sequence[QuarantinedFile],
    excluded: Sequence[ExcludedFile],
    *,
    splits: tuple[Split, ...],
) -> DatasetIndex:
    return DatasetIndex(
        source=source,
        paths=tuple(row.path for row in rows),
        image_sha256=tuple(row.image_sha256 for row in rows),
        labels=_frozen(np.array([row.label for row in rows], dtype=np.int64)),
        splits=splits,
        groups=tuple(row.group for row in rows),
        widths=_frozen(np.array([row.width for row in rows], dtype=np.int32)),
        heights=_frozen(np.array([row.height for row in rows], dtype=np.int32)),
        n_bytes=_frozen(np.array([row.n_bytes for row in rows], dtype=np.int64)),
        quarantined=tuple(bad),
        excluded=tuple(sorted((*source.excluded, *excluded), key=attrgetter("path"))),
    )


def _frozen(column: NDArray[_Number]) -> NDArray[_Number]:
    column.setflags(write=False)
    return column


def _too_many_bad(
    source: ImageSource, bad: list[QuarantinedFile], n_images: int, *, limit: float
) -> str:
    if not bad:
        return (
            f"{source.folder} holds no images of {source.name!r}; add some or name another folder"
        )
    examples = "".join(
        f"\n  {escape_control_characters(file.path)}: {file.reason}" for file in bad[:3]
    )
    more = f"\n  and {len(bad) - 3} more" if len(bad) > 3 else ""
    if all("--follow-links" in file.reason for file in bad):
        advice = _where_links_lead(source, bad)
    elif all(file.reason == NO_FILE for file in bad):
        advice = "name the folder that the paths are relative to (--images FOLDER)"
    else:
        advice = "repair or remove them, or accept more (--max-bad-fraction)"
    return (
        f"{len(bad)} of the {n_images} files of {source.name!r} in {source.folder} are unreadable, "
        f"more than the {limit:.0%} that are quarantined; {advice}:{examples}{more}"
    )


def _where_links_lead(source: ImageSource, bad: list[QuarantinedFile]) -> str:
    """What to say where all unreadable files are links out: a folder below which they all lead."""
    folder = str(source.folder)
    targets = [os.path.realpath(os.path.join(folder, file.path)) for file in bad]  # noqa: PTH118  # of text
    shared = os.path.commonpath(targets)
    n_parts = len(Path(shared).parts)
    place = shlex.quote(shared) if n_parts > 2 and len(set(targets)) > 1 else "ROOT"
    return f"say below which folder links may lead (--follow-links {place})"


def without_classes(index: DatasetIndex, labels: Collection[int], *, reason: str) -> DatasetIndex:
    """Leave out classes: their images are excluded, and the other classes numbered anew.

    Args:
        index: an index; it is returned itself where no class is to be left out.
        labels: labels of the classes to leave out.
        reason: why they are left out, in few words that many images share, as "short class".

    Raises:
        DatasetError: fewer than two classes would be left.
    """
    if not labels:
        return index
    source, stays = index.source, np.isin(index.labels, list(labels), invert=True)
    excluded = [ExcludedFile(index.paths[row], reason) for row in np.flatnonzero(~stays)]
    rows = np.flatnonzero(stays)
    return replace(
        index,
        source=_source_without(source, labels),
        paths=tuple(index.paths[row] for row in rows),
        image_sha256=tuple(index.image_sha256[row] for row in rows),
        labels=_frozen(_new_labels(source, labels)[index.labels[rows]]),
        splits=tuple(index.splits[row] for row in rows),
        groups=tuple(index.groups[row] for row in rows),
        widths=_frozen(index.widths[rows]),
        heights=_frozen(index.heights[rows]),
        n_bytes=_frozen(index.n_bytes[rows]),
        excluded=tuple(sorted([*index.excluded, *excluded], key=attrgetter("path"))),
    )


def with_classes_ordered(index: DatasetIndex, class_names: Sequence[str]) -> DatasetIndex:
    """Number the classes in another order, which does not change any image.

    Args:
        index: an index; it is returned itself where `class_names` are not exactly its classes.
        class_names: the class names in the order of their new labels.
    """
    source, names = index.source, index.source.class_names
    if tuple(class_names) == names or sorted(class_names) != sorted(names):
        return index
    old_labels = [names.index(name) for name in class_names]
    new_labels = np.argsort(old_labels).astype(np.int64)
    renumbered = (replace(file, label=int(new_labels[file.label])) for file in source.files)
    return replace(
        index,
        source=_with_classes(source, old_labels, files=tuple(renumbered)),
        labels=_frozen(new_labels[index.labels]),
    )


def _source_without(source: ImageSource, labels: Collection[int]) -> ImageSource:
    names, new_labels = source.class_names, _new_labels(source, labels)
    staying = [label for label in range(len(names)) if label not in labels]
    if len(staying) < 2:
        short = ", ".join(repr(names[label]) for label in sorted(labels)[:5])
        raise DatasetError(
            f"{len(staying)} of the {len(names)} classes of {source.name!r} would be left without those "
            f"that have too few images ({short}), and classifying takes two: add images to them, or "
            "ask for fewer shots"
        )
    files = (file for file in source.files if file.label not in labels)
    renumbered = tuple(replace(file, label=int(new_labels[file.label])) for file in files)
    return _with_classes(source, staying, files=renumbered)


def _with_classes(
    source: ImageSource, labels: Sequence[int], *, files: tuple[LabelledFile, ...]
) -> ImageSource:
    """The source with some of its classes, in the order of their labels until now."""
    return replace(
        source,
        class_names=tuple(source.class_names[label] for label in labels),
        class_folders=tuple(
            source.class_folders[label] for label in labels if source.class_folders
        ),
        class_prompts=tuple(
            source.class_prompts[label] for label in labels if source.class_prompts
        ),
        files=files,
    )


def _new_labels(source: ImageSource, labels: Collection[int]) -> NDArray[np.int64]:
    """Labels by old label when some are left out; those left out have none that means anything."""
    stays = [label not in labels for label in range(len(source.class_names))]
    return np.cumsum(stays, dtype=np.int64) - 1
