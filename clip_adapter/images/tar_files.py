"""Tar archives, listed and read in place with bounded memory; damage is found and reported."""

import gzip
import lzma
import tarfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from clip_adapter.errors import DataError, UnreadableImageError
from clip_adapter.images.formats import has_image_suffix, image_format
from clip_adapter.images.reading import MAX_FILE_BYTES

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_HEADER_BYTES = 1_000_000
"""Largest size of the extension headers (pax, GNU long names) of one member, and of all global ones."""
MAX_MEMBERS = 2_000_000
"""Largest number of members that are read of one archive."""
MAX_NAME_CHARACTERS = 200_000_000
"""Largest length of the names of one archive that are kept, all together."""

_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
_KINDS = {tarfile.LNKTYPE: "a link", tarfile.SYMTYPE: "a link", tarfile.FIFOTYPE: "a pipe"}
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


class TarMembers:
    """Where the regular files of an uncompressed archive lie, in some 100 bytes of memory each.

    Of members with one name the last counts, as when the archive is unpacked.

    Attributes:
        left_out: name and reason of each member that is no regular file, or is stored as a sparse one.
    """

    def __init__(self, file: BinaryIO) -> None:
        """List the members; of the files no content is read.

        Args:
            file: the archive, open at its beginning.

        Raises:
            UnreadableImageError: the archive is compressed, damaged, or no tar archive.
        """
        self.left_out: list[tuple[str, str]] = []
        self._names = bytearray()
        self._ends, self._places, self._sizes = array("Q", [0]), array("Q"), array("Q")
        hashes = array("q")
        try:
            with damage_raised():
                if kind := _compression(file):
                    message = (
                        f"it is compressed ({kind}) and cannot be read in place: decompress it"
                    )
                    raise UnreadableImageError(message)
                for _, member in _all_members(file):
                    self._add(member, hashes)
        except tarfile.ReadError as error:
            n = len(self)
            raise UnreadableImageError(
                f"the archive is damaged after {n:,} files, or no tar archive: {error}"
            ) from error
        unsorted = np.frombuffer(hashes, dtype=np.int64)
        # Members are found by the hash of their names, which Python seeds anew in each process.
        self._order = np.argsort(unsorted, kind="stable").astype(np.uint32)
        self._hashes = unsorted[self._order]

    def _add(self, member: tarfile.TarInfo, hashes: "array[int]") -> None:
        if not member.isfile() or member.issparse():
            if not member.isdir():
                reason = "a sparse file" if member.isfile() else _KINDS.get(member.type, "a device")
                self.left_out.append((member.name, reason))
            return
        name = member.name.encode("utf-8", "surrogateescape")
        _less(MAX_NAME_CHARACTERS - len(self._names), len(name))
        self._names += name
        self._ends.append(len(self._names))
        self._places.append(member.offset_data)
        self._sizes.append(member.size)
        hashes.append(hash(name))

    def __len__(self) -> int:
        """The number of regular files."""
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """The names of the regular files, in the order of the archive."""
        return (
            self._name(number).decode("utf-8", "surrogateescape") for number in range(len(self))
        )

    def find(self, name: str) -> tuple[int, int] | None:
        """Place and size in bytes of a file's content; None if there is no file of that name."""
        wanted = name.encode("utf-8", "surrogateescape")
        first, end = (
            int(np.searchsorted(self._hashes, hash(wanted), side=side))
            for side in ("left", "right")
        )
        for number in self._order[first:end][::-1].tolist():  # stable: the last of a name is first
            if self._name(number) == wanted:
                return self._places[number], self._sizes[number]
        return None

    def read(self, file: BinaryIO, name: str, *, at_most: int | None = None) -> bytes:
        """The content of a file in the archive, or its first `at_most` bytes.

        Args:
            file: the archive, open anywhere.
            name: name of the member.
            at_most: number of bytes; all if None.

        Raises:
            UnreadableImageError: there is no such file, it is larger than `MAX_FILE_BYTES`, or the
                archive was cut meanwhile.
        """
        found = self.find(name)
        if found is None:
            raise UnreadableImageError("the archive has no file of that name")
        place, size = found
        if at_most is None and size > MAX_FILE_BYTES:
            raise UnreadableImageError(_too_large(size))
        size = size if at_most is None else min(size, at_most)
        file.seek(place)
        content = file.read(size)
        if len(content) < size:
            raise UnreadableImageError("the archive was cut while it was read")
        return content

    def _name(self, number: int) -> bytes:
        return bytes(memoryview(self._names)[self._ends[number] : self._ends[number + 1]])


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
    with damage_raised(), path.open("rb") as file:
        yield from _all_members(file)


def _files(path: Path) -> Iterator[tuple[_Archive, tarfile.TarInfo]]:
    """Yield the regular files of an archive, each while it can be read, and check its end."""
    with path.open("rb") as file:
        for archive, member in _all_members(file):
            if member.isfile():
                yield archive, member


def _all_members(file: BinaryIO) -> Iterator[tuple[_Archive, tarfile.TarInfo]]:
    """Yield every member of an archive, each while it can be read, and check its end.

    Damage is an error of any kind that `damage_raised` knows.

    Raises:
        ReadError: the archive is damaged or has too many members.
    """
    kind = _compression(file)
    with _Archive.open(fileobj=file, mode=f"r:{kind}") as archive:  # type: ignore[call-overload]
        for n_members, member in enumerate(_members(archive)):
            if n_members == MAX_MEMBERS:
                raise tarfile.ReadError(f"it has more than {MAX_MEMBERS:,} members")
            yield archive, member
        _check_end(archive)


def _compression(file: BinaryIO) -> str:
    """The compression that the first bytes claim, as `tarfile` names it; empty if none."""
    head = file.read(6)
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")


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
        return UnreadableImageError(_too_large(member.size))
    file = archive.extractfile(member)
    return file.read() if file is not None else b""


def _too_large(size: int) -> str:
    return f"{size:,} bytes are more than the limit of {MAX_FILE_BYTES:,}"
