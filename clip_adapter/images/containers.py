"""One reader for image files and for images inside tar archives and Parquet files.

The path of an image says where it is: `cat/1.jpg` is a file; `train-000.tar/cat/1.jpg` is the member
`cat/1.jpg` of an archive; `train.parquet/image/00000017` is row 17 of the column `image`. Nothing is
unpacked. A container is opened as carefully as an image, and a folder that is called like one is a folder.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import BinaryIO, Final, Self

from clip_adapter.errors import DatasetError, UnreadableImageError
from clip_adapter.images.object_folder import ImageFolder, ObjectFolder
from clip_adapter.images.parquet_images import ParquetImages
from clip_adapter.images.reading import DEFAULT_OPTIONS, FolderReader, ReadOptions
from clip_adapter.images.tar_files import TarMembers

MAX_KEPT_MEMBERS: Final = 2_000_000
"""Number of members of tar archives whose places a process keeps, some 200 MB."""
MAX_KEPT_PARQUET_FILES: Final = 4
"""Number of Parquet files that a process keeps open, each with `WINDOW_BYTES` of images."""

_INSIDE = re.compile(r"(?P<file>.+?\.(?:tar|parquet))/(?P<inside>.+)", re.DOTALL | re.IGNORECASE)


def open_images(folder: ImageFolder, options: ReadOptions = DEFAULT_OPTIONS) -> "ContainerReader":
    """A reader of the images below a place, on this machine or in an object store.

    Args:
        folder: folder of a dataset; an object store has tar archives only.
        options: how the files may be read.
    """
    return ContainerReader(folder, options)


class ContainerReader:
    """Reads images by their paths, one after the other; a thread needs its own.

    Close it after use, or use it in a `with` statement. What lies where in a container is shared by all
    readers of a process.
    """

    def __init__(self, folder: ImageFolder, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self._folder = folder
        self._files = FolderReader(
            Path(os.devnull) if isinstance(folder, ObjectFolder) else folder, options
        )
        self._follow_links = options.follow_links
        self._is_container: dict[str, bool] = {}
        self._tar: tuple[str, BinaryIO, TarMembers] | None = None
        self._parquet: tuple[str, Hashable] | None = None

    def __enter__(self) -> Self:
        """Nothing is opened before the first image is read."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what this reader has open."""
        self.close()

    def close(self) -> None:
        """Close what this reader has open; reading goes on from the start."""
        self._files.close()
        self._parquet = None
        if self._tar is not None:
            self._tar[1].close()
            self._tar = None

    def read(self, path: str) -> bytes:
        """The bytes of the image at `path`, which is not trusted.

        Raises:
            UnreadableImageError: there is no such image, its file or container is refused as by
                `FolderReader.read`, it is too large, or the container is damaged.
            DatasetError: the object store cannot be reached.
        """
        return self._read(path, at_most=None)

    def read_head(self, path: str, size: int = 64) -> bytes:
        """The first bytes of the image at `path`; fewer of a shorter one. Raises as `read`."""
        return self._read(path, at_most=size)

    def members(self, path: str) -> TarMembers:
        """What lies in the tar archive at `path`.

        Raises:
            UnreadableImageError: the archive cannot be opened, is compressed, or is damaged.
            DatasetError: the object store cannot be reached.
        """
        return self._open_tar(path)[1]

    def open_file(self, path: str) -> BinaryIO:
        """Open a container, from which parts are read.

        Raises:
            UnreadableImageError: it is missing, not a regular file, or leads out of the folder.
            DatasetError: the object store cannot be reached.
        """
        if isinstance(self._folder, ObjectFolder):
            return self._folder.open_file(path)
        blobs = _blobs_of(self._folder) if self._follow_links is None else None
        if blobs is None:
            return self._files.open_file(path)
        with FolderReader(self._folder, ReadOptions(follow_links=blobs)) as reader:
            return reader.open_file(path)

    def _read(self, path: str, *, at_most: int | None) -> bytes:
        found = _INSIDE.fullmatch(path)
        if found is None or not self._is_file(found["file"]):
            if isinstance(self._folder, ObjectFolder):
                raise UnreadableImageError("an object store has images in tar archives only")
            whole = at_most is None
            return self._files.read(path) if whole else self._files.read_head(path, at_most or 0)
        if found["file"][-4:].lower() == ".tar":
            file, members = self._open_tar(found["file"])
            try:
                return members.read(file, found["inside"], at_most=at_most)
            except OSError as error:
                if isinstance(self._folder, ObjectFolder):
                    # Of the network, so that the image is not to be left out.
                    raise DatasetError(
                        f"{found['file']} in {self._folder.url} cannot be read: {str(error)[:300]}; run the "
                        "same again when the object store can be reached"
                    ) from error
                raise UnreadableImageError(f"the archive cannot be read: {error}") from error
        column, _, row = found["inside"].rpartition("/")
        if not row.isdecimal() or len(row) > 18:
            raise UnreadableImageError(f"{row!r:.40} is no number of a row in a Parquet file")
        return self._open_parquet(found["file"]).read(column, int(row))[:at_most]

    def _is_file(self, container: str) -> bool:
        if isinstance(self._folder, ObjectFolder):
            return True
        if container not in self._is_container:
            try:
                is_folder = (self._folder / container).is_dir()
            except (OSError, ValueError):  # a zero byte, or a name that is too long
                is_folder = True
            self._is_container[container] = not is_folder
        return self._is_container[container]

    def _open_tar(self, path: str) -> tuple[BinaryIO, TarMembers]:
        if self._tar is None or self._tar[0] != path:
            if self._tar is not None:
                self._tar[1].close()
                self._tar = None
            file = self.open_file(path)
            try:
                self._tar = (path, file, _KEPT.members(self._key(path, file), file))
            except BaseException:
                file.close()
                raise
        return self._tar[1:]

    def _open_parquet(self, path: str) -> ParquetImages:
        if self._parquet is not None and self._parquet[0] == path:
            kept = _KEPT.parquet_file(self._parquet[1])
            if kept is not None:
                return kept
        file = self.open_file(path)
        self._parquet = (path, self._key(path, file))
        return _KEPT.add_parquet_file(self._parquet[1], file)

    def _key(self, path: str, file: BinaryIO) -> Hashable:
        """What tells this state of a container from others."""
        if isinstance(self._folder, ObjectFolder):
            return str(self._folder), path, *self._folder.state(path)
        status = os.fstat(file.fileno())
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Kept:
    """Containers that a process has read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: OrderedDict[Hashable, TarMembers] = OrderedDict()
        self._parquet_files: OrderedDict[Hashable, ParquetImages] = OrderedDict()

    def members(self, key: Hashable, file: BinaryIO) -> TarMembers:
        """The places of the members of an archive, which is listed unless it was before."""
        with self._lock:
            if key not in self._members:
                self._members[key] = TarMembers(file)
            self._members.move_to_end(key)
            while (
                len(self._members) > 1 and sum(map(len, self._members.values())) > MAX_KEPT_MEMBERS
            ):
                self._members.popitem(last=False)
            return self._members[key]

    def parquet_file(self, key: Hashable) -> ParquetImages | None:
        """A Parquet file that is open; None if it is not."""
        with self._lock:
            if key in self._parquet_files:
                self._parquet_files.move_to_end(key)
            return self._parquet_files.get(key)

    def add_parquet_file(self, key: Hashable, file: BinaryIO) -> ParquetImages:
        """A Parquet file, whose handle is closed if the file is open already."""
        with self._lock:
            if key in self._parquet_files:
                file.close()
            else:
                self._parquet_files[key] = ParquetImages(file)
            self._parquet_files.move_to_end(key)
            while len(self._parquet_files) > MAX_KEPT_PARQUET_FILES:
                self._parquet_files.popitem(last=False)  # closed when no thread reads it any more
            return self._parquet_files[key]


_KEPT = _Kept()


def _blobs_of(folder: Path) -> Path | None:
    """Where the files of a snapshot in the cache of the Hugging Face hub are; None for other folders.

    The hub's client links every file of a snapshot to `blobs` of the same repository.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  # Path.resolve follows links
    for each in (folder, *folder.parents):
        repository = each.parent.parent
        if each.parent.name == "snapshots" and repository.name.startswith("datasets--"):
            return repository / "blobs"
    return None
