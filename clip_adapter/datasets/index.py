"""The index of a dataset: digests, sizes, labels and splits of its images, and unreadable files."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_adapter.datasets.sources import ExcludedFile, ImageSource, LabelledFile
from clip_adapter.datasets.splits import Split, split_by_content
from clip_adapter.errors import DatasetError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import FolderReader, UnreadableImageError, decode_image

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
    split: Split
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


def build_index(
    source: ImageSource,
    *,
    max_bad_fraction: float = 0.05,
    progress: Callable[[int], None] | None = None,
    known: KnownSizes = _NOTHING_KNOWN,
    workers: int = 2,
) -> DatasetIndex:
    """Read every file of `source` once: digest it, decode it, quarantine what is broken.

    The content of a file is never guessed from its name or time: every byte is read and digested, and
    the same bytes are decoded. Files whose digest is known are not decoded again.

    Args:
        source: the dataset to index.
        max_bad_fraction: fraction of unreadable files above which indexing fails.
        progress: function called now and then, and at the end, with the number of files done.
        known: sizes of images that were decoded before.
        workers: number of threads that read and decode; the index does not depend on it.

    Raises:
        DatasetError: there are no files, none is readable, or too many are unreadable.
    """
    good: list[_Row] = []
    bad: list[QuarantinedFile] = []
    files = sorted(source.files, key=attrgetter("path"))
    chunks = [files[first : first + _CHUNK] for first in range(0, len(files), _CHUNK)]
    examine = partial(_examine_chunk, source, known=known)
    for outcomes in prefetch_map(examine, chunks, workers=workers):
        for outcome in outcomes:
            if isinstance(outcome, _Row):
                good.append(outcome)
            else:
                bad.append(outcome)
        if progress is not None:
            progress(len(good) + len(bad))
    if not good or len(bad) > max_bad_fraction * len(source.files):
        raise DatasetError(_too_many_bad(source, bad, limit=max_bad_fraction))
    return _assemble(source, good, bad)


def _examine_chunk(
    source: ImageSource, files: list[LabelledFile], *, known: KnownSizes
) -> list[_Row | QuarantinedFile]:
    decode = partial(decode_image, max_pixels=source.read.max_pixels)
    with FolderReader(source.folder, source.read) as reader:
        return [_examine(reader, file, known=known, decode=decode) for file in files]


def _examine(
    reader: FolderReader,
    file: LabelledFile,
    *,
    known: KnownSizes,
    decode: Callable[[bytes], Image.Image],
) -> _Row | QuarantinedFile:
    n_bytes = None
    try:
        data = reader.read(file.path)
        n_bytes = len(data)
        digest = hashlib.sha256(data).digest()
        width, height = known.get(digest) or decode(data).size
    except UnreadableImageError as error:
        # A name that is not UTF-8 could be neither stored nor printed.
        shown = file.path.encode("utf-8", "backslashreplace").decode("utf-8")
        return QuarantinedFile(shown, escape_control_characters(error.reason), n_bytes)
    split = file.split or split_by_content(digest)
    return _Row(file.path, digest, file.label, split, file.group, width, height, n_bytes)


def _assemble(
    source: ImageSource, rows: Sequence[_Row], bad: Sequence[QuarantinedFile]
) -> DatasetIndex:
    return DatasetIndex(
        source=source,
        paths=tuple(row.path for row in rows),
        image_sha256=tuple(row.image_sha256 for row in rows),
        labels=_frozen(np.array([row.label for row in rows], dtype=np.int64)),
        splits=tuple(row.split for row in rows),
        groups=tuple(row.group for row in rows),
        widths=_frozen(np.array([row.width for row in rows], dtype=np.int32)),
        heights=_frozen(np.array([row.height for row in rows], dtype=np.int32)),
        n_bytes=_frozen(np.array([row.n_bytes for row in rows], dtype=np.int64)),
        quarantined=tuple(bad),
        excluded=tuple(sorted(source.excluded, key=attrgetter("path"))),
    )


def _frozen(column: NDArray[_Number]) -> NDArray[_Number]:
    column.setflags(write=False)
    return column


def _too_many_bad(source: ImageSource, bad: list[QuarantinedFile], *, limit: float) -> str:
    if not bad:
        return (
            f"{source.folder} holds no images of {source.name!r}; add some or name another folder"
        )
    examples = "".join(
        f"\n  {escape_control_characters(file.path)}: {file.reason}" for file in bad[:3]
    )
    more = f"\n  and {len(bad) - 3} more" if len(bad) > 3 else ""
    return (
        f"{len(bad)} of the {len(source.files)} files of {source.name!r} in {source.folder} are "
        f"unreadable, more than the {limit:.0%} that are quarantined; repair or remove them, or accept "
        f"more (--max-bad-fraction):{examples}{more}"
    )
