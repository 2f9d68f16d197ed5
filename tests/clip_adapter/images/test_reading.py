import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clip_adapter.images import FolderReader, UnreadableImageError, read_bytes, reading
from clip_adapter.images.reading import MAX_FILE_BYTES

NOBODY = 65_534


@pytest.fixture(params=[True, False], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: below an open directory, and by whole paths, as where that is not offered."""
    monkeypatch.setattr(reading, "_OPENS_BELOW_DESCRIPTORS", request.param)


def test_the_bytes_of_a_file_come_back_whole(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"12345")

    assert read_bytes(tmp_path, "a/b.png") == b"12345"


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd", "link"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")

    with pytest.raises(UnreadableImageError, match="leaves the folder"):
        read_bytes(folder, path)


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "b.png").symlink_to("a.png")

    assert read_bytes(tmp_path, "b.png") == b"1"


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="does not exist"):
        read_bytes(tmp_path, "a.png")


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")

    with pytest.raises(UnreadableImageError):
        read_bytes(tmp_path, "a.png")


@pytest.mark.timeout(10)
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")

    with pytest.raises(UnreadableImageError, match="not a regular file"):
        read_bytes(tmp_path, "a.png")


def test_a_folder_is_not_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()

    with pytest.raises(UnreadableImageError, match=r"not a regular file|cannot be opened"):
        read_bytes(tmp_path, "a.png")


@pytest.mark.parametrize(("path", "reason"), [("a\0b", "leads nowhere"), ("\udcff", "not valid")])
def test_a_name_no_file_should_have_is_refused(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        read_bytes(tmp_path, path)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no room

    with pytest.raises(UnreadableImageError, match="more than the limit"):
        read_bytes(tmp_path, "a.png")


def test_a_link_to_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("absent.png")

    with pytest.raises(UnreadableImageError, match="does not exist"):
        read_bytes(tmp_path, "a.png")


def test_a_socket_is_refused() -> None:
    # Its own short folder: the path of a socket has at most some hundred bytes.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/a.png")

        with pytest.raises(UnreadableImageError, match="socket"):
            read_bytes(Path(folder), "a.png")


def test_an_empty_file_is_read_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()

    assert read_bytes(tmp_path, "a.png") == b""


def test_a_file_without_the_right_to_read_it_says_so(open_folder: Path) -> None:
    (open_folder / "a.png").write_bytes(b"1")
    (open_folder / "a.png").chmod(0)

    with as_nobody(), pytest.raises(UnreadableImageError, match="opened: Permission denied"):
        read_bytes(open_folder, "a.png")


def test_a_name_that_is_too_long_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="cannot be opened: File name too long"):
        read_bytes(tmp_path, "a" * 300 + ".png")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_its_size_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")

    def checked_then_changed(status: os.stat_result) -> int:
        os.truncate(tmp_path / "a.png", status.st_size + change)
        return status.st_size

    monkeypatch.setattr(reading, "_regular_size", checked_then_changed)
    with pytest.raises(UnreadableImageError, match="changed while it was read"):
        read_bytes(tmp_path, "a.png")


def test_a_reader_goes_from_folder_to_folder_and_back(tmp_path: Path) -> None:
    for path in ("a/1", "b/1", "b/c/1", "1"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    (tmp_path / "d").symlink_to("b/c")
    paths = ["a/1", "b/1", "a/1", "b/c/1", "1", "./a/1", "b/../1", "b/c/../1"]

    with FolderReader(tmp_path) as reader:
        found = [reader.read(path) for path in (*paths, "d/1")]

    assert found == [b"a/1", b"b/1", b"a/1", b"b/c/1", b"1", b"a/1", b"1", b"b/1", b"b/c/1"]


def test_a_folder_that_becomes_a_link_out_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for place in (folder / "a", outside):
        place.mkdir(parents=True)
        (place / "1").write_bytes(place.name.encode())
        (place / "2").write_bytes(place.name.encode())

    with FolderReader(folder) as reader:
        assert reader.read("a/1") == b"a"
        (folder / "a").rename(folder / "was-a")
        (folder / "a").symlink_to(outside)
        assert outcome(reader, "a/2") != b"outside"
        reader.close()
        assert outcome(reader, "a/2") == "its path leaves the folder of the dataset"


def test_a_reader_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").touch()
    (tmp_path / "out").symlink_to("/etc/passwd")
    with FolderReader(tmp_path) as reader:
        before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - a listing of our own descriptors
        for path in ("a/1", "out", "a", "absent/1", "a/1/2", "../1"):
            outcome(reader, path)
        reader.close()
        assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208 - the same


def outcome(reader: FolderReader, path: str) -> bytes | str:
    try:
        return reader.read(path)
    except UnreadableImageError as error:
        return error.reason


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user whom permissions hold back; root reads everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)


def test_the_head_of_a_file_is_read_and_no_more(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as big:
        big.write(b"0123456789")
        big.truncate(MAX_FILE_BYTES + 1)
    (tmp_path / "short").write_bytes(b"12")

    with FolderReader(tmp_path) as reader:
        assert reader.read_head("a.png", size=10) == b"0123456789"
        assert len(reader.read_head("a.png")) == 64
        assert reader.read_head("short") == b"12"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("path", ["../secret", "link", "pipe", "missing", "folder"])
def test_a_head_is_refused_wherever_a_whole_file_is(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (inside / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(inside / "pipe")

    with FolderReader(inside) as reader:
        with pytest.raises(UnreadableImageError) as whole:
            reader.read(path)
        with pytest.raises(UnreadableImageError) as head:
            reader.read_head(path)

    assert head.value.reason == whole.value.reason
