"""Unpacks zip and tar archives that others made: nothing outside the folder, nothing but files, bounded."""

import os
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Final, NamedTuple

from clip_adapter.errors import DataError
from clip_adapter.images.tar_files import TAR_SUFFIXES, damage_raised, tar_members

ARCHIVE_SUFFIXES: Final = (".zip", *TAR_SUFFIXES)
MAX_MEMBERS: Final = 2_000_000
MAX_NAME_BYTES: Final = 1000
"""Largest length of the name of a member in UTF-8."""
MAX_PART_BYTES: Final = 255
"""Largest length of what stands between two slashes, as most file systems have it."""
MAX_RATIO: Final = 50
"""How many times larger than the archive its content may be, apart from `ALWAYS_ALLOWED_BYTES`."""
ALWAYS_ALLOWED_BYTES: Final = 10**7
_CHUNK_BYTES: Final = 2**20


class _Member(NamedTuple):
    """A file or folder of an archive, and what opens it; None for a folder."""

    name: str
    size: int
    open: Callable[[], IO[bytes]] | None


def unpack(
    archive: Path, folder: Path, *, advance: Callable[[float], None] = lambda _: None
) -> int:
    """Unpack an archive into a folder that nothing else writes to; existing files are not replaced.

    Permissions, times and owners of the archive are left out.

    Args:
        archive: a .zip or .tar file, the latter perhaps compressed.
        folder: folder to write to, made if it is missing.
        advance: function called with the megabytes (10**6 bytes) just written.

    Returns:
        Number of files written.

    Raises:
        DataError: the archive is damaged, or has a path out of the folder, a link, a device, a sparse
            or encrypted file, a name that is too long or has control characters, two names that differ
            in case alone or not at all, or too many or too large files. What was written by then stays.
        OSError: the disk cannot be written to.
    """
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    limit = MAX_RATIO * archive.stat().st_size + ALWAYS_ALLOWED_BYTES
    names = _Names()
    n_members, n_files = 0, 0
    with _damage_raised(archive):
        for member in members(archive):
            n_members += 1
            if n_members > MAX_MEMBERS:
                raise DataError(f"it has more than {MAX_MEMBERS:,} files and folders")
            path = names.add(member.name, is_folder=member.open is None)
            limit -= member.size
            if limit < 0:
                raise DataError(
                    f"its content is more than {MAX_RATIO} times larger than the archive, as at "
                    f"{member.name!r:.200}"
                )
            if member.open is None:
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with member.open() as content:
                _write(content, folder / path, size=member.size, advance=advance)
            n_files += 1
    return n_files


class _Names:
    """The paths of an archive; none leaves the folder, comes twice, or differs from another in case."""

    def __init__(self) -> None:
        self._seen: dict[
            str, tuple[str, bool]
        ] = {}  # path and whether it is a folder, by folded path

    def add(self, name: str, *, is_folder: bool) -> str:
        """The path of a member relative to the folder, checked.

        Raises:
            DataError: it is not a path to write to.
        """
        shown = f"{name!r:.200}"
        encoded = name.encode("utf-8", "surrogateescape")
        longest = max(map(len, encoded.split(b"/")))
        if len(encoded) > MAX_NAME_BYTES or longest > MAX_PART_BYTES:
            raise DataError(f"it has a name of {len(name):,} characters, {shown}")
        if not name.isprintable() or "\\" in name:
            raise DataError(f"it has the name {shown}, with control characters or backslashes")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
            raise DataError(f"it has the path {shown}, which leads out of the folder")
        if not parts and not is_folder:
            raise DataError(f"it has the name {shown}, which names no file")
        for end in range(1, len(parts)):
            self._add("/".join(parts[:end]), is_folder=True)
        path = "/".join(parts)
        self._add(path, is_folder=is_folder)
        return path

    def _add(self, path: str, *, is_folder: bool) -> None:
        folded = unicodedata.normalize("NFC", path).casefold()
        known = (
            self._seen.setdefault(folded, (path, is_folder))
            if is_folder
            else self._seen.get(folded)
        )
        if known is None:
            self._seen[folded] = path, is_folder
        elif known[0] != path:
            raise DataError(
                f"it has {known[0]!r:.200} and {path!r:.200}, which are one file on some machines"
            )
        elif not (known[1] and is_folder):  # a folder comes again with each file in it
            raise DataError(f"it has {path!r:.200} twice")


def _write(content: IO[bytes], path: Path, *, size: int, advance: Callable[[float], None]) -> None:
    """Write a new file of exactly `size` bytes, whatever the content goes on with."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    n_left = size
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        while n_left and (piece := content.read(min(_CHUNK_BYTES, n_left))):
            file.write(piece)
            n_left -= len(piece)
            advance(len(piece) / 1e6)
        if n_left or content.read(1):
            raise DataError(f"{path.name!r:.200} has not the {size:,} bytes that the archive says")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where a program recorded none
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                what = "a link" if kind == stat.S_IFLNK else "no file"
                raise DataError(f"{info.filename!r:.200} in it is {what}")
            if info.flag_bits & 1:
                raise DataError(f"{info.filename!r:.200} in it is encrypted")
            if info.is_dir():
                yield _Member(info.filename, 0, None)
            else:
                yield _Member(info.filename, info.file_size, partial(file.open, info))


def _tar_members(archive: Path) -> Iterator[_Member]:
    for file, member in tar_members(archive):
        name = member.name
        if member.issym() or member.islnk():
            raise DataError(f"{name!r:.200} in it is a link")
        if member.issparse():
            raise DataError(f"{name!r:.200} in it is a sparse file")
        if member.isdir():
            yield _Member(name, 0, None)
        elif member.isreg():
            yield _Member(name, member.size, partial(_opened, file, member))
        else:
            raise DataError(f"{name!r:.200} in it is no file but a device or the like")


def _opened(file: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = file.extractfile(member)
    if content is None:
        raise DataError(f"{member.name!r:.200} in it cannot be read")
    return content


@contextmanager
def _damage_raised(archive: Path) -> Iterator[None]:
    """Raise what is wrong with an archive as one error that names it."""
    try:
        with damage_raised():
            yield
    except (
        DataError,
        tarfile.TarError,
        zipfile.BadZipFile,
        NotImplementedError,  # a compression that this Python lacks
    ) as error:
        said = " ".join(str(error).split())
        raise DataError(f"the archive {archive} is not unpacked: {said:.500}") from error
    except FileExistsError as error:
        raise DataError(
            f"the archive {archive} is not unpacked: {error.filename} is there already"
        ) from error
