import os
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.images import (
    DEFAULT_OPTIONS,
    FolderReader,
    ReadOptions,
    UnreadableImageError,
    read_bytes,
    reading,
)
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


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)

    for options in (DEFAULT_OPTIONS, ReadOptions(follow_links=tmp_path / "other")):
        with FolderReader(folder, options) as reader:
            reason = str(outcome(reader, path))
        assert reason.startswith("its path leaves the folder of the dataset")
        assert "--follow-links" in reason


@pytest.mark.parametrize("path", ["../shared/1.jpg", "a/../../shared/1.jpg", "{shared}/1.jpg"])
def test_a_path_may_lead_out_below_the_folder_that_the_user_names(
    tmp_path: Path, path: str
) -> None:
    put(tmp_path / "shared" / "1.jpg", b"cat")
    put(tmp_path / "folder" / "a" / "1.jpg")

    with following(tmp_path / "folder", tmp_path / "shared") as reader:
        assert reader.read(path.format(shared=tmp_path / "shared")) == b"cat"


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
        assert "a link that leads out of the folder" in str(outcome(reader, "a/2"))


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


def following(folder: Path, root: Path) -> FolderReader:
    return FolderReader(folder, ReadOptions(follow_links=root))


def put(path: Path, data: bytes = b"1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def link(path: Path, to: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


@pytest.mark.parametrize(
    ("store", "named"),
    [
        ("hub/blobs/0a1b", "hub/blobs"),
        (".git/annex/objects/Xx/Yy/SHA256E-s1/SHA256E-s1.jpg", ".git/annex/objects"),
        (".dvc/cache/files/md5/0a/1b2c", ".dvc/cache"),
        ("my originals/cat.jpg", "my originals"),
    ],
)
def test_a_link_out_is_refused_with_the_folder_that_allows_it(
    tmp_path: Path, store: str, named: str
) -> None:
    put(tmp_path / store)
    link(
        tmp_path / "photos" / "a" / "1.jpg",
        os.path.relpath(tmp_path / store, tmp_path / "photos" / "a"),
    )
    with FolderReader(tmp_path / "photos") as reader:
        reason = str(outcome(reader, "a/1.jpg"))

    assert reason == (
        "it is a link that leads out of the folder; to follow links to regular files below a folder, "
        f"name it: --follow-links {shlex.quote(str(tmp_path / named))}"
    )
    root = shlex.split(reason)[-1]
    with following(tmp_path / "photos", Path(root)) as reader:
        assert reader.read("a/1.jpg") == reader.read_head("a/1.jpg") == b"1"


def test_a_snapshot_of_the_hugging_face_hub_is_read(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / "0a1b", b"cat")
    snapshot = tmp_path / "snapshots" / "rev"
    link(snapshot / "train" / "cat" / "1.jpg", "../../../../blobs/0a1b")

    with following(snapshot, tmp_path / "blobs") as reader:
        assert reader.read("train/cat/1.jpg") == b"cat"


def test_a_folder_that_is_a_link_out_is_followed_too(tmp_path: Path) -> None:
    put(tmp_path / "originals" / "cats" / "1.jpg", b"cat")
    put(tmp_path / "originals" / "cats" / "2.jpg", b"other")
    link(tmp_path / "photos" / "cat", tmp_path / "originals" / "cats")

    with following(tmp_path / "photos", tmp_path / "originals") as reader:
        assert [reader.read(f"cat/{name}.jpg") for name in (1, 2)] == [b"cat", b"other"]


def test_where_the_file_itself_is_decides_and_not_the_links_on_the_way(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / "1", b"cat")
    link(tmp_path / "curated" / "1.jpg", tmp_path / "blobs" / "1")
    link(tmp_path / "photos" / "cat", tmp_path / "curated")

    with following(tmp_path / "photos", tmp_path / "blobs") as reader:
        assert reader.read("cat/1.jpg") == b"cat"


def test_a_root_may_be_a_link_itself(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / "1")
    link(tmp_path / "photos" / "1.jpg", tmp_path / "blobs" / "1")
    link(tmp_path / "store", tmp_path / "blobs")

    with following(tmp_path / "photos", tmp_path / "store") as reader:
        assert reader.read("1.jpg") == b"1"


def test_a_link_to_elsewhere_than_below_the_root_says_where_it_leads(tmp_path: Path) -> None:
    put(tmp_path / "other" / "1")
    (tmp_path / "blobs").mkdir()
    link(tmp_path / "blobs" / "1", tmp_path / "other" / "1")
    link(tmp_path / "photos" / "1.jpg", tmp_path / "blobs" / "1")

    with following(tmp_path / "photos", tmp_path / "blobs") as reader:
        assert outcome(reader, "1.jpg") == (
            f"it is a link that leads out of the folder, to {tmp_path / 'other'}, "
            f"which is not below {tmp_path / 'blobs'} (--follow-links)"
        )


@pytest.mark.timeout(10)
def test_nothing_but_a_regular_file_is_read_through_a_link_out(tmp_path: Path) -> None:
    root, photos = tmp_path / "root", tmp_path / "photos"
    root.mkdir()
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    link(root / "circle", "circle")
    for name in ("pipe", "folder", "circle", "nothing"):
        link(photos / name, root / name)

    with following(photos, root) as reader:
        assert outcome(reader, "pipe") == "it is a pipe, not a regular file"
        assert outcome(reader, "folder") == "it is a folder, not a regular file"
        assert outcome(reader, "circle") == "it is a link that leads in a circle"
        assert str(outcome(reader, "nothing")).endswith("does not exist")


def test_what_takes_the_place_of_a_file_once_it_was_resolved_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = put(tmp_path / "secret", b"secret")
    blob = put(tmp_path / "blobs" / "1")
    link(tmp_path / "photos" / "1.jpg", blob)

    def then_swapped(status: os.stat_result) -> int:
        if blob.is_file() and not blob.is_symlink():
            blob.unlink()
            blob.symlink_to(secret)
        return status.st_size

    monkeypatch.setattr(reading, "_regular_size", then_swapped)
    with following(tmp_path / "photos", tmp_path / "blobs") as reader:
        assert outcome(reader, "1.jpg") == "it is a link that leads in a circle"


@pytest.mark.skipif(sys.platform != "linux", reason="tells by /proc what a descriptor is of")
@pytest.mark.parametrize("root", [None, "blobs", "absent"])
def test_nothing_outside_the_folder_and_the_root_is_ever_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str | None
) -> None:
    photos, blobs = tmp_path / "photos", tmp_path / "blobs"
    for place in (photos / "in" / "1", blobs / "in" / "1", tmp_path / "out" / "in" / "1"):
        put(place)
    for name, target in {
        "file": photos / "in" / "1",
        "blob": blobs / "in" / "1",
        "outside": tmp_path / "out" / "in" / "1",
        "device": Path("/dev/null"),
    }.items():
        link(photos / f"to-{name}", target)
        link(photos / f"to-folder-of-{name}", target.parent)
        link(blobs / f"to-{name}", target)
        link(photos / f"by-blobs-to-{name}", blobs / f"to-{name}")
    paths = [f"{entry.name}{end}" for entry in photos.iterdir() for end in ("", "/1", "/../in/1")]
    opened = record_opened(monkeypatch)

    options = ReadOptions(follow_links=tmp_path / root) if root else DEFAULT_OPTIONS
    with FolderReader(photos, options) as reader:
        found = {path: outcome(reader, path) for path in [*paths, "../out/in/1", "/dev/null"]}

    allowed = [photos, blobs] if root == "blobs" else [photos]
    assert [place for place in opened if not any(map(place.is_relative_to, allowed))] == []
    assert found["to-file"] == found["to-folder-of-file/1"] == b"1"
    assert (found["to-blob"] == found["to-folder-of-blob/1"] == b"1") == (root == "blobs")


def record_opened(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The files and folders that are opened from now on, wherever links and descriptors led."""
    opened: set[Path] = set()
    really_open = os.open

    def recording(*args: Any, **kwargs: Any) -> int:
        descriptor = really_open(*args, **kwargs)
        opened.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")))  # noqa: PTH115 - of a descriptor
        return descriptor

    monkeypatch.setattr(os, "open", recording)
    return opened
