"""Images in tar archives, read in place with bounded memory; damage is found and told."""

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clip_adapter.datasets.folder_walk import has_image_suffix
from clip_adapter.errors import DataError, UnreadableImageError
from clip_adapter.images import image_format
from clip_adapter.images.reading import MAX_FILE_BYTES

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_HEADER_BYTES = 1_000_000
"""Largest size of the extension headers (pax, GNU long names) of one member, and of all global ones."""
MAX_MEMBERS = 2_000_000
"""Largest number of members that are read of one archive."""
MAX_NAME_CHARACTERS = 200_000_000
"""Largest length of the names of the images of one archive, all together."""

_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
_BLOCK = tarfile.BLOCKSIZE
_NO_END = "it does not end with two blocks of zeros, its end may be missing"
_INVALID: Any = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_TRUNCATED: Any = tarfile.TruncatedHeaderError  # type: ignore[attr-defined]
_EMPTY: Any = tarfile.EmptyHeaderError  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class TarListing:
    """The images that an archive names.

    Attributes:
        names: names of the members that may be images, in the order of the archive.
        n_excluded: number of other files.
        damage: why the archive could not be read to its end; empty if it is sound.
    """

    names: list[str]
    n_excluded: int
    damage: str


def list_tar_images(path: Path) -> TarListing:
    """List the members of an archive that begin like an image or are called like one.

    Raises:
        DataError: the archive is damaged or no tar archive, and no image lies before the damage.
    """
    names: list[str] = []
    n_excluded, n_left, damage = 0, MAX_NAME_CHARACTERS, ""
    try:
        with damage_raised():
            for archive, member in _files(path):
                if _may_hold_image(archive, member):
                    n_left = _less(n_left, len(member.name))
                    names.append(member.name)
                else:
                    n_excluded += 1
    except tarfile.ReadError as error:
        if not names:
            message = f"the archive {path} is damaged or no tar archive: {error}"
            raise DataError(message) from error
        damage = str(error)
    return TarListing(names=names, n_excluded=n_excluded, damage=damage)


def _less(n_left: int, n: int) -> int:
    if n > n_left:
        raise tarfile.ReadError(f"its names have more than {MAX_NAME_CHARACTERS:,} characters")
    return n_left - n


def read_tar_images(path: Path, listing: TarListing) -> Iterator[bytes | UnreadableImageError]:
    """Yield the content of each listed image or why it cannot be read, and at last the damage, if any."""
    n_yielded, n_read, damage = 0, 0, listing.damage
    try:
        with damage_raised():
            for archive, member in _files(path):
                if n_yielded < len(listing.names) and member.name == listing.names[n_yielded]:
                    content = _content(archive, member)
                    n_read += isinstance(content, bytes)
                    n_yielded += 1
                    yield content
    except tarfile.ReadError as error:
        damage = damage or str(error)
    missing = f"the archive is damaged here: {damage}" if damage else "it is gone from the archive"
    for _ in listing.names[n_yielded:]:
        yield UnreadableImageError(missing)
    if listing.damage:
        yield UnreadableImageError(f"the archive is damaged after {n_read:,} images: {damage}")


class _Member(tarfile.TarInfo):
    """A member; its headers are bounded, and a bad one is an error where `tarfile` sees the end."""

    @classmethod
    def fromtarfile(cls, archive: Any) -> Self:
        try:
            return super().fromtarfile(archive)
        except (_TRUNCATED, _EMPTY):
            raise tarfile.ReadError(_NO_END) from None
        except _INVALID as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset:,} of the tar data") from None

    def _proc_gnulong(self, archive: "_Archive") -> Any:
        archive.count(self)
        return super()._proc_gnulong(archive)  # type: ignore[misc]

    def _proc_pax(self, archive: "_Archive") -> Any:
        archive.count(self)
        return super()._proc_pax(archive)  # type: ignore[misc]

    def _proc_sparse(self, archive: "_Archive") -> Any:
        """Skip the map of a sparse file, which is of any length and is not read."""
        _, goes_on, whole_size = self._sparse_structs  # type: ignore[attr-defined]
        del self._sparse_structs  # type: ignore[attr-defined]  # as tarfile does
        while goes_on:
            block = archive.fileobj.read(_BLOCK)
            if len(block) < _BLOCK:
                raise tarfile.ReadError("unexpected end of data")
            goes_on = block[504]
        self.sparse: Any = []
        self.offset_data = archive.fileobj.tell()
        archive.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        self.size = whole_size
        return self

    def _proc_gnusparse_10(self, member: Any, *_: Any) -> None:
        """Leave out the map of a sparse file, as above."""
        member.sparse = []


class _Archive(tarfile.TarFile):
    """An archive that counts the bytes of extension headers.

    Attributes:
        n_local: number of bytes of the headers that belong to the next member.
        n_global: number of bytes of the headers that belong to all members.
    """

    tarinfo = _Member
    n_local = 0
    n_global = 0

    def count(self, header: tarfile.TarInfo) -> None:
        """Add an extension header.

        Raises:
            ReadError: the headers are larger than `MAX_HEADER_BYTES`.
        """
        size = header.size + _BLOCK
        if header.type == tarfile.XGLTYPE:
            self.n_global += size
        else:
            self.n_local += size
        if header.size < 0 or max(self.n_local, self.n_global) > MAX_HEADER_BYTES:
            raise tarfile.ReadError(
                f"extension headers of {header.size:,} bytes: expected at most {MAX_HEADER_BYTES:,}"
            )


def tar_members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield every member of an archive, each while it can be read, and check its end.

    Raises:
        ReadError: the archive is damaged, or has too many members or too large headers.
    """
    with damage_raised():
        yield from _every_member(path)


def _files(path: Path) -> Iterator[tuple[_Archive, tarfile.TarInfo]]:
    """Yield the regular files of an archive, as `_every_member` does."""
    return (each for each in _every_member(path) if each[1].isfile())


def _every_member(path: Path) -> Iterator[tuple[_Archive, tarfile.TarInfo]]:
    """Yield every member of an archive, each while it can be read, and check its end.

    Damage is an error of any kind that `damage_raised` knows.

    Raises:
        ReadError: the archive is damaged or has too many members.
    """
    with path.open("rb") as file:
        head = file.read(6)
        kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
        file.seek(0)
        with _Archive.open(fileobj=file, mode=f"r:{kind}") as archive:  # type: ignore[call-overload]
            for n_members, member in enumerate(_members(archive)):
                if n_members == MAX_MEMBERS:
                    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS:,} members")
                yield archive, member
            _check_end(archive)


def _members(archive: _Archive) -> Iterator[tarfile.TarInfo]:
    last = 0
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # which would grow with the archive
        archive.n_local = 0
        if archive.offset <= last:  # a negative size leads back
            raise tarfile.ReadError(f"the member at byte {archive.offset:,} has no valid size")
        last = archive.offset
        yield member


def _check_end(archive: _Archive) -> None:
    """Check that a second block of zeros and nothing else follows, and the checksum of the whole."""
    file: Any = archive.fileobj
    if len(block := file.read(_BLOCK)) < _BLOCK:
        raise tarfile.ReadError(_NO_END)
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError("data follow its end, as of a second archive")
        block = file.read(2**20)


@contextmanager
def damage_raised() -> Iterator[None]:
    """Raise every error that damage of an archive leads to as a ReadError of one line.

    Raises:
        ReadError: the archive is damaged.
        DataError: the block raised it.
    """
    try:
        yield
    except DataError:  # a ValueError that says by itself what is wrong
        raise
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        ValueError,  # of a number in a header
        OverflowError,  # of an offset
        RecursionError,  # of header after header
    ) as error:
        raise tarfile.ReadError(" ".join(str(error).split())[:200]) from error
    except OSError as error:
        if error.errno is not None:  # the disk
            raise
        raise tarfile.ReadError(str(error)) from error  # bzip2's


def _may_hold_image(archive: _Archive, member: tarfile.TarInfo) -> bool:
    hidden = any(part.startswith(".") for part in Path(member.name).parts)
    if hidden or has_image_suffix(member.name):
        return not hidden
    if member.issparse():
        return False
    file = archive.extractfile(member)
    return file is not None and image_format(file.read(64)) is not None


def _content(archive: _Archive, member: tarfile.TarInfo) -> bytes | UnreadableImageError:
    if member.issparse():  # would read as more zeros than the archive has bytes
        return UnreadableImageError("it is stored as a sparse file")
    if member.size > MAX_FILE_BYTES:
        return UnreadableImageError(
            f"{member.size:,} bytes are more than the limit of {MAX_FILE_BYTES:,}"
        )
    file = archive.extractfile(member)
    return file.read() if file is not None else b""
