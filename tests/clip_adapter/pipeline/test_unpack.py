"""Archives that others made are unpacked as far as they are harmless, and no further."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.errors import DataError
from clip_adapter.pipeline import unpack as unpacking
from clip_adapter.pipeline.unpack import unpack

Fill = Callable[[tarfile.TarFile], None]


def tar_of(path: Path, fill: Fill, *, kind: str = "") -> Path:
    with tarfile.open(path, f"w:{kind}") as archive:
        fill(archive)
    return path


def member(name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def put(archive: tarfile.TarFile, name: str, content: bytes = b"picture") -> None:
    info = member(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def zip_of(path: Path, *names: str, content: bytes = b"picture", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)
    return path


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_a_tar_archive_is_unpacked(tmp_path: Path, kind: str) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        archive.addfile(member("./pets", kind=tarfile.DIRTYPE))
        put(archive, "./pets/cat.jpg", b"cat")
        put(archive, "./list.txt", b"cat.jpg")

    suffix = f".tar.{kind}" if kind else ".tar"
    archive = tar_of(tmp_path / f"pets{suffix}", fill, kind=kind)
    n_mb: list[float] = []

    assert unpack(archive, tmp_path / "out", advance=n_mb.append) == 2

    assert (tmp_path / "out" / "pets" / "cat.jpg").read_bytes() == b"cat"
    assert everything_below(tmp_path / "out") == {"pets", "pets/cat.jpg", "list.txt"}
    assert sum(n_mb) == pytest.approx(10 / 1e6)


def test_a_zip_archive_is_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "pets.zip", "pets/", "pets/cat.jpg", "__MACOSX/._cat.jpg")
    assert unpack(archive, tmp_path / "out") == 2
    assert (tmp_path / "out" / "pets" / "cat.jpg").read_bytes() == b"picture"


def test_permissions_of_an_archive_are_left_out(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        info = member("run.sh")
        info.mode = 0o6777
        archive.addfile(info, io.BytesIO())

    unpack(tar_of(tmp_path / "a.tar", fill), tmp_path / "out")
    mode = (tmp_path / "out" / "run.sh").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


HOSTILE: dict[str, tuple[Fill, str]] = {
    "path out": (lambda archive: put(archive, "a/../../evil"), "leads out of the folder"),
    "absolute path": (lambda archive: put(archive, "/var/evil"), "leads out of the folder"),
    "drive": (lambda archive: put(archive, "C:/evil"), "leads out of the folder"),
    "backslashes": (lambda archive: put(archive, "..\\evil"), "backslashes"),
    "line break": (lambda archive: put(archive, "a\nb"), "control characters"),
    "symbolic link": (
        lambda archive: archive.addfile(member("a", kind=tarfile.SYMTYPE, target="/etc")),
        "'a' in it is a link",
    ),
    "hard link": (
        lambda archive: archive.addfile(member("a", kind=tarfile.LNKTYPE, target="/etc/passwd")),
        "'a' in it is a link",
    ),
    "device": (lambda archive: archive.addfile(member("a", kind=tarfile.CHRTYPE)), "a device"),
    "pipe": (lambda archive: archive.addfile(member("a", kind=tarfile.FIFOTYPE)), "a device"),
    "sparse file": (
        lambda archive: archive.addfile(member("a", kind=tarfile.GNUTYPE_SPARSE)),
        "a sparse file",
    ),
    "duplicate": (lambda archive: [put(archive, "a/b") for _ in range(2)] and None, "'a/b' twice"),
    "file and folder": (
        lambda archive: [put(archive, name) for name in ("a", "a/b")] and None,
        "'a' twice",
    ),
    "cases": (
        lambda archive: [put(archive, name) for name in ("Cat/1", "cat/2")] and None,
        "'Cat' and 'cat', which are one file on some machines",
    ),
    "long part": (lambda archive: put(archive, "é" * 128), "a name of 128 characters"),
    "long name": (lambda archive: put(archive, "a" * 10_000), "a name of 10,000 characters"),
    "large header": (
        lambda archive: put(archive, "a" * 2_000_000),
        "extension headers of 2,000,0",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tar_archive_is_one_error_and_writes_nothing_outside(
    tmp_path: Path, what: str
) -> None:
    fill, message = HOSTILE[what]
    place = tmp_path / "place"
    place.mkdir()
    archive = tar_of(tmp_path / "evil.tar", fill)
    with pytest.raises(DataError, match=message) as raised:
        unpack(archive, place / "out")
    assert str(archive) in str(raised.value)
    assert len(str(raised.value)) < 1000
    assert "evil" not in "".join(everything_below(place))
    assert not [path for path in place.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_zip_archive_with_a_path_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "evil.zip", name)
    with pytest.raises(DataError, match="leads out of the folder"):
        unpack(archive, tmp_path / "place" / "out")
    assert everything_below(tmp_path) <= {"evil.zip", "place", "place/out"}


def test_a_link_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "evil.zip", "a", mode=stat.S_IFLNK | 0o777, content=b"/etc/passwd")
    with pytest.raises(DataError, match="'a' in it is a link"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_it_has_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED_BYTES", 1000)
    zeros = bytes(10**6)
    path = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        zip_of(path, "zeros", content=zeros)
    else:
        tar_of(path, lambda archive: put(archive, "zeros", zeros), kind="gz")
    with pytest.raises(DataError, match="more than 50 times larger than the archive"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out" / "zeros").exists()


def test_an_archive_of_too_many_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    archive = zip_of(tmp_path / "many.zip", *map(str, range(4)))
    with pytest.raises(DataError, match="more than 3 files"):
        unpack(archive, tmp_path / "out")


def test_a_size_that_an_archive_understates_is_not_gone_beyond(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", "a", content=b"x" * 1000)
    data = archive.read_bytes().replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(data)
    with pytest.raises(DataError, match="is not unpacked"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_size <= 10


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(path, "a", content=bytes(range(256)) * 100)
    else:
        tar_of(path, lambda archive: put(archive, "a", bytes(range(256)) * 100), kind="gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"the archive .* is not unpacked"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip", "zip of bz2", "zip of lzma"])
def test_damage_in_the_middle_of_an_archive_is_one_error(tmp_path: Path, kind: str) -> None:
    content = np.random.default_rng(1).bytes(3_000_000)
    if kind.startswith("zip"):
        path = tmp_path / "a.zip"
        methods = {"zip of bz2": zipfile.ZIP_BZIP2, "zip of lzma": zipfile.ZIP_LZMA}
        with zipfile.ZipFile(path, "w", methods.get(kind, zipfile.ZIP_DEFLATED)) as archive:
            archive.writestr("a", content)
    else:
        path = tar_of(tmp_path / f"a.tar.{kind}", lambda tar: put(tar, "a", content), kind=kind)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"the archive .* is not unpacked"):
        unpack(path, tmp_path / "out")


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"mine")
    with pytest.raises(DataError, match="is there already"):
        unpack(zip_of(tmp_path / "a.zip", "a"), tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"mine"


def test_a_folder_that_became_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "outside" / "new")
    with pytest.raises(DataError, match="is there already"):
        unpack(zip_of(tmp_path / "a.zip", "a"), tmp_path / "out")
    assert not (tmp_path / "outside" / "new").exists()
