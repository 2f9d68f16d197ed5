"""Archives as strangers send them: cut, changed, or made to fill the memory."""

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.errors import DataError
from clip_adapter.images import tar_files
from clip_adapter.images.tar_files import list_tar_images, read_tar_images

N = 20
MEMBER_BYTES = 3584
"""Header and content of each image."""


def image(number: int) -> bytes:
    """Bytes that begin like an image and cannot be compressed."""
    return b"\x89PNG\r\n\x1a\n" + np.random.default_rng(number).bytes(3000)


def tar_bytes(form: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{form}") as archive:  # type: ignore[call-overload]
        for number in range(N):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(image(number))
            archive.addfile(member, io.BytesIO(image(number)))
    return file.getvalue()


def read(path: Path) -> tuple[list[int], str]:
    """Numbers of the images that are read as they were, and the last error."""
    listing = list_tar_images(path)
    contents = list(read_tar_images(path, listing))
    assert len(contents) == len(listing.names) + bool(listing.damage)
    whole = [n for n, each in enumerate(contents) if each == image(n)]
    return whole, "" if isinstance(contents[-1], bytes) else contents[-1].reason


@pytest.mark.parametrize("form", ["", "gz", "bz2", "xz"])
def test_a_sound_archive_has_all_images_and_no_damage(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes(form))
    assert read(tmp_path / "a.tar") == (list(range(N)), "")


@pytest.mark.parametrize("form", ["", "gz", "xz"])
def test_what_lies_before_a_cut_is_read(tmp_path: Path, form: str) -> None:
    whole = tar_bytes(form)
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 2])
    found, error = read(tmp_path / "a.tar")
    assert N // 4 < len(found) < N
    assert found == list(range(len(found)))
    assert f"the archive is damaged after {len(found)} images" in error


def test_one_changed_byte_is_told(tmp_path: Path) -> None:
    content = bytearray(tar_bytes("gz"))
    content[len(content) // 2] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(content)
    assert "the archive is damaged after" in read(tmp_path / "a.tar.gz")[1]


def damaged_tars() -> Iterator[tuple[str, bytes, int]]:
    whole, at = tar_bytes(), MEMBER_BYTES * 5
    end = MEMBER_BYTES * N
    negative = tarfile.TarInfo("x.png")
    negative.size = -1024
    pax = tarfile.TarInfo("x.png")
    pax.pax_headers = {"GNU.sparse.size": "9x"}
    chained = tarfile.TarInfo("x")
    chained.type = tarfile.XHDTYPE
    yield "bad checksum", whole[:at] + b"x" + whole[at + 1 :], 5
    yield "data follow its end", whole[:at] + bytes(512) + whole[at + 512 :], 5
    yield "data follow its end", whole + whole, N
    yield "two blocks of zeros", whole[:end], N
    yield "two blocks of zeros", whole[: end + 512], N
    yield "two blocks of zeros", whole[: at + 100], 5
    yield "no valid size", whole[:at] + negative.tobuf(tarfile.GNU_FORMAT) + whole[at:], 5
    yield "invalid literal", whole[:at] + pax.tobuf(tarfile.PAX_FORMAT) + whole[at:], 5
    yield "", whole[:at] + chained.tobuf(tarfile.GNU_FORMAT) * 1500 + whole[at:], 5


@pytest.mark.parametrize(("words", "content", "n"), list(damaged_tars()))
def test_every_damage_is_told_after_the_images_before_it(
    tmp_path: Path, words: str, content: bytes, n: int
) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    found, error = read(tmp_path / "a.tar")
    assert found == list(range(n))
    assert error.startswith(f"the archive is damaged after {n} images: ")
    assert words in error
    assert "\n" not in error


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 20_000_000
    content = tar_bytes()[:MEMBER_BYTES] + header.tobuf(tarfile.GNU_FORMAT) + bytes(header.size)
    (tmp_path / "a.tar").write_bytes(content)
    tracemalloc.start()
    found, error = read(tmp_path / "a.tar")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found, "extension headers of 20,000,000 bytes" in error) == ([0], True)
    assert peak < 10_000_000


def test_the_map_of_a_sparse_file_is_skipped(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("x.png")
    sparse.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # the map goes on
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = bytearray(512)
    more[504] = 1
    content = tar_bytes()
    (tmp_path / "a.tar").write_bytes(
        content[:MEMBER_BYTES] + header + more * 40_000 + bytes(512) + content[MEMBER_BYTES:]
    )
    listing = list_tar_images(tmp_path / "a.tar")
    contents = list(read_tar_images(tmp_path / "a.tar", listing))
    assert (listing.damage, len(contents)) == ("", N + 1)
    assert str(contents[1]) == "it is stored as a sparse file"


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MAX_MEMBERS", 7, "more than 7 members"),
        ("MAX_NAME_CHARACTERS", 35, "more than 35 characters"),
    ],
)
def test_the_numbers_of_members_and_names_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, words: str
) -> None:
    monkeypatch.setattr(tar_files, limit, value)
    (tmp_path / "a.tar").write_bytes(tar_bytes())
    found, error = read(tmp_path / "a.tar")
    assert (found, words in error) == (list(range(7)), True)


def test_an_archive_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    for content in (b"", b"no archive" * 100, b"\x1f\x8bno gzip", b"BZhno bzip2"):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.tar is damaged or no tar archive: .+"):
            list_tar_images(tmp_path / "a.tar")
