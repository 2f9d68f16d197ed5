"""Reading of untrusted files, without leaving their folder and without blocking."""

import errno
import os
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from clip_adapter.errors import UnreadableImageError

MAX_FILE_BYTES = 256 * 2**20
MAX_PIXELS = 64_000_000  # above today's cameras; 192 MB once decoded

# Windows has neither of the first two, POSIX not the third.
_FILE = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
# O_PATH asks for no right to list the directory; only Linux has it.
_DIRECTORY = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_PATH", 0)
)
_OPENS_BELOW_DESCRIPTORS = os.open in os.supports_dir_fd
NO_FILE = "the file does not exist"
_OUTSIDE = "its path leaves the folder of the dataset"
# Where images are a user's, they lie deeper; a hostile folder may lead here and hope for its name.
_NEVER_NAMED = frozenset(
    {"/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/sys", "/usr", "/var"}
)
_SYSTEM = {("proc",), ("sys",), ("dev",), ("etc",)}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class ReadOptions:
    """How the image files of a dataset may be read.

    Attributes:
        follow_links: folder below which a link, or a path in a table, may lead out of the folder of the
            dataset, to regular files only; None if nothing may leave it.
        max_pixels: number of pixels above which an image is refused, except a JPEG, which is decoded
            at reduced size.
    """

    follow_links: Path | None = None
    max_pixels: int = MAX_PIXELS


DEFAULT_OPTIONS = ReadOptions()
"""No link is followed out of the folder, and the usual limits hold."""


class ImageReader(Protocol):
    """Reads image files by their paths below one place."""

    def read(self, path: str) -> bytes:
        """The bytes of the image at `path`; raises `UnreadableImageError`."""
        ...

    def read_head(self, path: str, size: int = 64) -> bytes:
        """The first `size` bytes of the image at `path`; raises `UnreadableImageError`."""
        ...


def read_bytes(folder: Path, path: str) -> bytes:
    """The bytes of one regular file below `folder`, read by a `FolderReader`."""
    with FolderReader(folder) as reader:
        return reader.read(path)


def read_image_file(path: Path) -> bytes:
    """The bytes of one regular file that the user names; its own links are followed.

    Raises:
        UnreadableImageError: it is missing, is not a regular file, cannot be read, or is larger than
            `MAX_FILE_BYTES`.
    """
    try:
        target = path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # circles of links, a zero byte
        raise UnreadableImageError(f"its path leads nowhere: {error}") from error
    return read_bytes(target.parent, target.name)


class FolderReader:
    """Reads regular files below `folder`, one after the other; a thread needs its own.

    Resolving a path costs more than reading a small file. So `folder` is resolved once and the
    directory of the last file stays open: files of one directory are opened by name alone.
    Close it after use, or use it in a `with` statement.
    """

    def __init__(self, folder: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self._folder = folder
        self._options = options
        self._root: Path | None = None
        self._parent: tuple[str, int] | None = None

    def __enter__(self) -> Self:
        """Nothing is opened before the first file is read."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the directory that is open."""
        self.close()

    def close(self) -> None:
        """Close the directory that is open; reading goes on from the start."""
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def read(self, path: str) -> bytes:
        """The bytes of the file at `path`, which is relative to the folder and not trusted.

        Never blocks on a pipe. A path or link that leads out of the folder is followed only to a
        regular file below `ReadOptions.follow_links`: all links are resolved first, and what is opened then
        is opened part by part without following any, not even one that takes the place of a file or
        directory meanwhile.

        Raises:
            UnreadableImageError: `path` leaves the folder, is missing, is not a regular file,
                cannot be read, changes its size, or is larger than `MAX_FILE_BYTES`.
        """
        return self._read(path, _read_regular)

    def read_head(self, path: str, size: int = 64) -> bytes:
        """The first bytes of the file at `path`, opened as carefully as by `read`.

        Args:
            path: path relative to the folder, not trusted.
            size: number of bytes to read; fewer are returned of a shorter file.

        Raises:
            UnreadableImageError: `path` leaves the folder, is missing, is not a regular file, or
                cannot be read. A file may be larger than `MAX_FILE_BYTES`.
        """
        return self._read(path, partial(_read_head, size=size))

    def open_file(self, path: str) -> BinaryIO:
        """Open the file at `path` to read parts of it, as carefully as by `read`; it may be of any size.

        Raises:
            UnreadableImageError: `path` leaves the folder, is missing, is not a regular file, or
                cannot be opened.
        """
        _check_name(path)
        try:
            descriptor = self._open(path)
            try:
                _regular_size(os.fstat(descriptor))
            except UnreadableImageError:
                os.close(descriptor)
                raise
        except (OSError, RuntimeError) as error:
            raise UnreadableImageError(_explain(error)) from error
        return os.fdopen(descriptor, "rb")

    def _read(self, path: str, take: Callable[[int], bytes]) -> bytes:
        _check_name(path)
        try:
            descriptor = self._open(path)
            try:
                return take(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, RuntimeError) as error:
            raise UnreadableImageError(_explain(error)) from error

    def _open(self, path: str) -> int:
        parent, _, name = path.rpartition("/")
        if not _OPENS_BELOW_DESCRIPTORS or path.startswith("/") or name in {"", ".", ".."}:
            return self._open_resolved(path, _FILE)
        try:
            return os.open(name, _FILE, dir_fd=self._enter(parent))
        except UnreadableImageError:
            pass  # its folder is a link out; where the file itself is decides
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.EMLINK}:  # of O_NOFOLLOW for links
                raise
        try:
            return self._open_resolved(path, _FILE)
        except FileNotFoundError:
            raise UnreadableImageError("it is a link to a file that does not exist") from None

    def _enter(self, parent: str) -> int:
        if self._parent is None or self._parent[0] != parent:
            self.close()
            self._parent = (parent, self._open_resolved(parent, _DIRECTORY))
        return self._parent[1]

    def _open_resolved(self, path: str, flags: int) -> int:
        root = self._root = self._root or self._folder.resolve()
        target = (root / path).resolve()
        if not target.is_relative_to(root):
            root = self._root_outside(path, target)
            if flags == _FILE:
                _regular_size(target.lstat())  # so that no device is opened at all
        if not _OPENS_BELOW_DESCRIPTORS:
            return os.open(target, flags)
        return _open_below(root, target.relative_to(root).parts, flags)

    def _root_outside(self, path: str, target: Path) -> Path:
        """The folder outside ours below which `target` may be opened."""
        is_named = ".." in path.split("/") or Path(path).is_absolute()
        leads_out = _OUTSIDE if is_named else "it is a link that leads out of the folder"
        if self._options.follow_links is None:
            place = _folder_to_name(target)
            what = "read regular files" if is_named else "follow links to regular files"
            raise UnreadableImageError(
                f"{leads_out}; to {what} below a folder, name it: "
                f"--follow-links {shlex.quote(str(place)) if place else 'ROOT'}"
            )
        root = self._options.follow_links.resolve()
        if not target.is_relative_to(root):
            raise UnreadableImageError(
                f"{leads_out}, to {target.parent}, which is not below {root} (--follow-links)"
            )
        return root


def _folder_to_name(target: Path) -> Path | None:
    """The folder below which links have to be followed to reach `target` and others like it.

    None for a folder of the system, which no dataset has a reason to lead to.
    """
    if str(target.parent) in _NEVER_NAMED or target.parts[1:2] in _SYSTEM:
        return None
    # Hugging Face, git-annex and DVC keep files in many folders below one.
    stores = ("/blobs", "/annex/objects", "/.dvc/cache")
    below = (folder for folder in target.parents if folder.as_posix().endswith(stores))
    return next(below, target.parent)


def _open_below(root: Path, parts: tuple[str, ...], flags: int) -> int:
    """Open part by part without following links: one put there since they were resolved fails."""
    if not parts:
        return os.open(root, flags)
    descriptor = os.open(root, _DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        return os.open(parts[-1], flags, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _check_name(path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableImageError("its name is not valid UTF-8") from None
    if "\0" in path:
        raise UnreadableImageError("its path leads nowhere: it holds a zero byte")


def _read_regular(descriptor: int) -> bytes:
    size = _regular_size(os.fstat(descriptor))
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError(f"{size:,} bytes are more than the limit of {MAX_FILE_BYTES:,}")
    parts = []
    wanted = size + 1  # one more than there should be, to see whether it grew
    while wanted > 0 and (part := os.read(descriptor, wanted)):
        parts.append(part)
        wanted -= len(part)
    if wanted != 1:
        raise UnreadableImageError(
            "it changed while it was read; try again when no program writes it"
        )
    return b"".join(parts)


def _read_head(descriptor: int, size: int) -> bytes:
    _regular_size(os.fstat(descriptor))
    return os.read(descriptor, size)


def _regular_size(status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UnreadableImageError(f"it is {kind}, not a regular file")
    return status.st_size


def _explain(error: OSError | RuntimeError) -> str:
    if isinstance(error, RuntimeError) or error.errno == errno.ELOOP:
        return "it is a link that leads in a circle"
    if isinstance(error, FileNotFoundError):
        return NO_FILE
    if error.errno == errno.ENXIO:  # what opening a socket answers
        return "it is a socket or a device without a driver, not a regular file"
    return f"the file cannot be opened: {error.strerror}"
