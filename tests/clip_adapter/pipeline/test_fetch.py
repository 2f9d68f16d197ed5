"""Datasets are fetched from a server of this machine, which breaks off, changes its mind, and lies."""

import email.utils
import errno
import hashlib
import http.server
import io
import json
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.datasets import (
    DatasetError,
    describe,
    descriptions,
    find_described,
    open_dataset,
)
from clip_adapter.errors import ParameterError, UnavailableError, UnknownNameError
from clip_adapter.file_lock import FileLock
from clip_adapter.pipeline import download as downloading
from clip_adapter.pipeline import fetch as fetching
from clip_adapter.pipeline.download import download
from clip_adapter.pipeline.fetch import fetch, steps_by_hand
from clip_adapter.pipeline.reporter import Reporter


class Silent(Reporter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[str] = []

    def log(self, message: str) -> None:
        self.logged.append(message)


@dataclass
class Server:
    """A server of files by path.

    Attributes:
        url: address.
        files: content by path.
        break_after: numbers of bytes after which the next answers break off.
        versions: ETag by path; the digest of the content where none is given.
        requests: path and header Range of each request.
        redirects: address by path.
        has_ranges: whether the header Range is heard.
        refusals: codes that the next requests are answered with, and the header Retry-After.
        has_lengths: whether answers have the header Content-Length.
        is_chunked: whether answers come in chunks.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    has_ranges: bool = True
    refusals: list[tuple[int, str]] = field(default_factory=list)
    has_lengths: bool = True
    is_chunked: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as a `Server` says."""

    known: Server

    @property
    def protocol_version(self) -> str:  # type: ignore[override]
        """HTTP/1.1 where answers come in chunks, which 1.0 does not know."""
        return "HTTP/1.1" if self.known.is_chunked else "HTTP/1.0"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.known.requests.append((path, self.headers["Range"]))
        if not self.refuse(path):
            self.send_content(path)

    def send_content(self, path: str) -> None:
        content = self.known.files[path]
        version = self.known.versions.get(path) or f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324
        begin = 0
        asked = re.match(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked and self.known.has_ranges and self.headers["If-Range"] == version:
            begin = int(asked[1])
        if begin >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if self.known.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif self.known.has_lengths:
            self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", version)
        self.end_headers()
        end = self.known.break_after.pop(0) if self.known.break_after else len(content)
        sent = content[begin : begin + end]
        self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent) if self.known.is_chunked else sent)
        if self.known.is_chunked and begin + end >= len(content):
            self.wfile.write(b"0\r\n\r\n")

    def refuse(self, path: str) -> bool:
        """Answer without the file, if the server is to do so."""
        if self.known.refusals:
            code, wait = self.known.refusals.pop(0)
            self.send_response(code)
            if wait:
                self.send_header("Retry-After", wait)
            self.end_headers()
            return True
        if path in self.known.redirects:
            self.send_response(302)
            self.send_header("Location", self.known.redirects[path])
            self.end_headers()
            return True
        if path not in self.known.files:
            self.send_error(404)
            return True
        return False

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloading, "_BEFORE_RETRY_SECONDS", 0.0)
    known = Server()

    handler = type("KnownFiles", (Handler,), {"known": known})

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        known.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield known
        running.shutdown()
        thread.join()


CONTENT = bytes(range(256)) * 40


def get(server: Server, target: Path, **options: Any) -> None:
    server.files.setdefault("/file.bin", CONTENT)
    options = {"limit_bytes": 10**6, "reporter": Silent()} | options
    download(f"{server.url}/file.bin", target, **options)


def sha256(content: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "digest": hashlib.sha256(content).hexdigest()}


# One file


def test_a_file_is_downloaded_and_compared_with_its_digest(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "file.bin", **sha256(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.break_after = [3000, 4000]
    get(server, tmp_path / "file.bin", **sha256(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=3000-", "bytes=7000-"]


def test_another_process_goes_on_from_what_is_there(server: Server, tmp_path: Path) -> None:
    server.break_after = [3000] + [0] * 20
    with pytest.raises(UnavailableError, match="goes on from there"):
        get(server, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    server.break_after.clear()
    server.requests.clear()

    get(server, tmp_path / "file.bin", **sha256(CONTENT))

    assert server.requests == [("/file.bin", "bytes=3000-")]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_downloaded_anew(server: Server, tmp_path: Path) -> None:
    server.break_after = [3000] + [0] * 20
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "file.bin")
    server.break_after.clear()
    server.files["/file.bin"] = changed = CONTENT[::-1]

    get(server, tmp_path / "file.bin", **sha256(changed))

    assert (tmp_path / "file.bin").read_bytes() == changed


def test_a_server_without_ranges_sends_the_whole_file_again(server: Server, tmp_path: Path) -> None:
    server.has_ranges, server.break_after = False, [3000]
    get(server, tmp_path / "file.bin", **sha256(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_file_that_was_complete_before_it_got_its_name_is_not_sent_again(
    server: Server, tmp_path: Path
) -> None:
    server.break_after = [3000] + [0] * 20
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "file.bin")
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    get(server, tmp_path / "file.bin", **sha256(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_file_with_another_digest_is_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"has the sha256 .*, expected .* was removed"):
        get(server, tmp_path / "file.bin", **sha256(b"what was published"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_above_its_limit_is_not_received(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="more than 1,000 bytes"):
        get(server, tmp_path / "file.bin", limit_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_says_so_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="the server answers 404"):
        download(f"{server.url}/x", tmp_path / "x", limit_bytes=9, reporter=Silent())
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [408, 429, 503])
def test_a_server_that_is_busy_is_asked_again_when_it_says(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", slept.append)
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    server.refusals = [(code, "7"), (code, in_a_minute), (code, ""), (code, "soon")]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert slept == [
        7,
        pytest.approx(60, abs=10),
        0,
        0,
    ]  # seconds that the test took, and of the date


def test_a_server_that_asks_to_wait_for_long_is_not_waited_for(
    server: Server, tmp_path: Path
) -> None:
    server.refusals = [(429, "86400")]
    with pytest.raises(UnavailableError, match=r"429 .*asks to wait for 86,400 seconds"):
        get(server, tmp_path / "file.bin")
    assert len(server.requests) == 1


def test_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path) -> None:
    server.refusals = [(429, "")] * 9
    with pytest.raises(UnavailableError, match="the server answers 429"):
        get(server, tmp_path / "file.bin")
    assert len(server.requests) == downloading.MAX_ATTEMPTS


def test_a_file_in_chunks_is_complete_when_its_end_is_marked(
    server: Server, tmp_path: Path
) -> None:
    server.is_chunked, server.break_after = True, [3000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_file_of_unknown_size_is_known_to_be_complete_by_its_digest(
    server: Server, tmp_path: Path
) -> None:
    server.has_lengths = False
    with pytest.raises(UnavailableError, match="does not say how large the file is"):
        get(server, tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []
    get(server, tmp_path / "file.bin", **sha256(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_something_else_than_http_is_refused(
    server: Server, tmp_path: Path, target: str
) -> None:
    server.redirects["/file.bin"] = target
    with pytest.raises(UnavailableError, match=r"[Rr]edirect"):
        get(server, tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_to_http_is_followed(server: Server, tmp_path: Path) -> None:
    server.files["/mirror"] = CONTENT
    server.redirects["/file.bin"] = f"{server.url}/mirror"
    get(server, tmp_path / "file.bin", **sha256(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


# A dataset


def archive_of(names: dict[str, bytes], *, kind: str = "tar.gz") -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in names.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, content in names.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


SPLIT = json.dumps(
    {"train": [["cat/1.jpg", 0, "cat"], ["dog/1.jpg", 1, "dog"]], "val": [], "test": []}
).encode()


@pytest.fixture(name="pets")
def _pets(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of datasets; pets is the one that is known, on the server."""
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path / "known")
    (tmp_path / "known").mkdir()
    images = archive_of({"pets/cat/1.jpg": b"1", "pets/dog/1.jpg": b"2"})
    server.files |= {"/pets.tar.gz": images, "/split.json": SPLIT}
    describe_pets(tmp_path, server)
    return tmp_path / "data"


def describe_pets(place: Path, server: Server, *, more: str = "") -> None:
    digest = hashlib.md5(server.files["/pets.tar.gz"]).hexdigest()  # noqa: S324
    descriptions.read_description.cache_clear()
    (place / "known" / "pets.yaml").write_text(
        f"""
title: Pets
what: photos
folders: [my_pets]
images: [pets]
split_file: split.json
class_folders: yes
classes: [cat, dog]
templates: ["a photo of a {{}}."]
licence: MIT
homepage: https://example.org/pets
downloads:
  - {{url: "{server.url}/pets.tar.gz?download=1", md5: {digest}, max_mb: 1}}
  - {{url: "{server.url}/split.json", max_mb: 1}}
{more}
"""
    )


def test_a_dataset_is_fetched_and_can_be_opened(pets: Path) -> None:
    done = fetch("pets", data=pets, reporter=Silent())
    assert (done.is_present, done.n_downloaded, done.steps) == (True, 2, ())
    assert done.folder == pets / "my_pets"
    source = open_dataset("pets", data=pets)
    assert [file.path for file in source.files] == ["cat/1.jpg", "dog/1.jpg"]
    assert source.notes == ()
    assert {path.name for path in pets.iterdir()} <= {"my_pets", ".fetch-pets.lock"}


def test_what_is_there_is_not_fetched_again(pets: Path, server: Server) -> None:
    fetch("pets", data=pets, reporter=Silent())
    server.requests.clear()
    assert fetch("pets", data=pets, reporter=Silent()).n_downloaded == 0
    assert server.requests == []


def test_only_the_split_file_is_fetched_where_the_images_are(pets: Path, server: Server) -> None:
    for name in ("cat", "dog"):
        (pets / "my_pets" / "pets" / name).mkdir(parents=True)
    assert fetch("pets", data=pets, reporter=Silent()).is_present
    assert [path for path, _ in server.requests] == ["/split.json"]
    assert (pets / "my_pets" / "split.json").read_bytes() == SPLIT


def test_images_that_only_a_split_file_labels_are_fetched_where_it_is(
    pets: Path, server: Server
) -> None:
    file = pets.parent / "known" / "pets.yaml"
    file.write_text(file.read_text().replace("class_folders: yes", "class_folders: no"))
    (pets / "my_pets").mkdir(parents=True)
    (pets / "my_pets" / "split.json").write_bytes(SPLIT)
    assert fetch("pets", data=pets, reporter=Silent()).is_present
    assert [path for path, _ in server.requests] == ["/pets.tar.gz"]
    assert {path.name for path in (pets / "my_pets").iterdir()} == {"pets", "split.json"}


def test_an_interrupted_fetch_leaves_no_folder_and_is_taken_up(pets: Path, server: Server) -> None:
    split = server.files.pop("/split.json")
    with pytest.raises(UnavailableError, match=r"404(.|\n)*By hand:\n  Download http(.|\n)*split"):
        fetch("pets", data=pets, reporter=Silent())
    assert not (pets / "my_pets").exists()
    server.files["/split.json"] = split
    server.requests.clear()
    assert fetch("pets", data=pets, reporter=Silent()).is_present
    assert [path for path, _ in server.requests] == ["/split.json"]


@pytest.mark.parametrize("name", ["../../evil", "/evil"])
def test_a_hostile_archive_leaves_nothing(pets: Path, server: Server, name: str) -> None:
    server.files["/pets.tar.gz"] = archive_of({"pets/cat/1.jpg": b"1", name: b"2"})
    describe_pets(pets.parent, server)
    with pytest.raises(DatasetError, match="leads out of the folder"):
        fetch("pets", data=pets, reporter=Silent())
    assert not (pets / "my_pets").exists()
    assert not list(pets.parent.rglob("*evil*"))


def test_a_damaged_archive_without_a_digest_is_downloaded_anew(pets: Path, server: Server) -> None:
    file = pets.parent / "known" / "pets.yaml"
    file.write_text(re.sub(r" md5: \w+,", "", file.read_text()))
    images = server.files["/pets.tar.gz"]
    server.files["/pets.tar.gz"] = images[:-20]
    with pytest.raises(
        DatasetError, match="it was removed, and the same command downloads it anew"
    ):
        fetch("pets", data=pets, reporter=Silent())
    server.files["/pets.tar.gz"] = images
    assert fetch("pets", data=pets, reporter=Silent()).is_present


def test_a_full_disk_is_left_without_what_was_unpacked(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(archive: Path, folder: Path, **_: object) -> None:
        (folder / "half").write_bytes(archive.read_bytes())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "unpack", unpack)
    with pytest.raises(OSError, match="No space left"):
        fetch("pets", data=pets, reporter=Silent())
    assert not list(pets.rglob("half"))


@pytest.mark.parametrize("content", ["birds/1.jpg", "pets/cat/1.jpg"])
def test_an_archive_of_something_else_is_not_put_in_place(
    pets: Path, server: Server, content: str
) -> None:
    server.files["/pets.tar.gz"] = archive_of({content: b"1"})
    describe_pets(pets.parent, server)
    with pytest.raises(DatasetError, match=r"does not hold its images(.|\n)*can be moved by hand"):
        fetch("pets", data=pets, reporter=Silent())
    assert not (pets / "my_pets").exists()
    assert (pets / ".fetch-pets" / "unpacked" / content).exists()


@pytest.mark.parametrize("content", ["birds/1.jpg", "pets/cat/1.jpg"])
def test_an_archive_of_something_else_without_a_digest_is_downloaded_anew(
    pets: Path, server: Server, content: str
) -> None:
    file = pets.parent / "known" / "pets.yaml"
    file.write_text(re.sub(r" md5: \w+,", "", file.read_text()))
    images = server.files["/pets.tar.gz"]
    server.files["/pets.tar.gz"] = archive_of({content: b"1"})
    with pytest.raises(DatasetError, match=r"pets.tar.gz was removed, .* downloads it anew"):
        fetch("pets", data=pets, reporter=Silent())
    assert not list(pets.rglob("*.jpg"))
    server.files["/pets.tar.gz"] = images
    assert fetch("pets", data=pets, reporter=Silent()).is_present


@pytest.mark.parametrize("n_moved", [0, 1, 2])
def test_a_move_that_was_interrupted_is_finished(
    pets: Path, server: Server, monkeypatch: pytest.MonkeyPatch, n_moved: int
) -> None:
    server.files["/pets.tar.gz"] = archive_of({"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    describe_pets(pets.parent, server)
    file = pets.parent / "known" / "pets.yaml"
    file.write_text(file.read_text().replace("images: [pets]", "images: ['']"))
    (pets / "my_pets").mkdir(parents=True)
    (pets / "my_pets" / "notes.txt").write_text("mine")
    rename, moved = Path.rename, list[Path]()

    def rename_a_few(path: Path, target: Path) -> Path:
        if target.parent == pets / "my_pets":
            if len(moved) == n_moved:
                raise KeyboardInterrupt
            moved.append(target)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_a_few)
        with pytest.raises(KeyboardInterrupt):
            fetch("pets", data=pets, reporter=Silent())
    assert all(path.exists() for path in moved)
    server.requests.clear()

    assert fetch("pets", data=pets, reporter=Silent()).is_present

    assert server.requests == []
    found = {path.name for path in (pets / "my_pets").iterdir()}
    assert found == {"notes.txt", "cat", "dog", "split.json"}
    assert (pets / "my_pets" / "notes.txt").read_text() == "mine"
    assert not (pets / ".fetch-pets").exists()


def test_an_archive_in_an_archive_is_unpacked_in_its_place(pets: Path, server: Server) -> None:
    inner = archive_of({"cat/1.jpg": b"1", "dog/1.jpg": b"2"})
    server.files["/pets.zip"] = archive_of({"pets/inner.tar.gz": inner}, kind="zip")
    describe_pets(pets.parent, server)
    file = pets.parent / "known" / "pets.yaml"
    digest = hashlib.sha256(server.files["/pets.zip"]).hexdigest()
    line = (
        f'  - {{url: "{server.url}/pets.zip", sha256: {digest}, max_mb: 1, inner: inner.tar.gz}}\n'
    )
    file.write_text(re.sub(r"(?m)^  - .*pets\.tar\.gz.*\n", line, file.read_text()))
    fetch("pets", data=pets, reporter=Silent())
    assert (pets / "my_pets" / "pets" / "cat" / "1.jpg").read_bytes() == b"1"
    assert not (pets / "my_pets" / "pets" / "inner.tar.gz").exists()


def test_a_file_in_the_way_is_not_replaced(pets: Path) -> None:
    (pets / "my_pets" / "pets").mkdir(parents=True)
    (pets / "my_pets" / "pets" / "notes.txt").write_text("mine")
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"my_pets/pets is in the way"):
            fetch("pets", data=pets, reporter=Silent())
        assert [path.name for path in (pets / "my_pets").rglob("*")] == ["pets", "notes.txt"]
    (pets / "my_pets" / "pets").rename(pets / "elsewhere")
    assert fetch("pets", data=pets, reporter=Silent()).is_present


def test_a_licence_that_has_to_be_accepted_is_shown_before_anything_is_asked(
    pets: Path, server: Server
) -> None:
    describe_pets(pets.parent, server, more="accept_licence: yes")
    with pytest.raises(ParameterError, match=r"MIT \(https://example.org/pets\).*--accept-licence"):
        fetch("pets", data=pets, reporter=Silent())
    assert server.requests == []
    assert fetch("pets", data=pets, accept_licence=True, reporter=Silent()).is_present


def test_a_second_process_does_not_fetch_the_same(pets: Path) -> None:
    pets.mkdir()
    lock = FileLock.acquire(pets / ".fetch-pets.lock")
    assert lock is not None
    with pytest.raises(UnavailableError, match="another process fetches pets"):
        fetch("pets", data=pets, reporter=Silent())
    lock.release()


def test_the_split_file_is_fetched_where_the_images_are_got_by_hand(
    pets: Path, server: Server
) -> None:
    describe_pets(pets.parent, server, more="steps: ['Put the photos into {folder}.']")
    done = fetch("pets", data=pets, reporter=Silent())
    assert (done.is_present, done.n_downloaded) == (False, 1)
    assert done.steps[0] == f"Put the photos into {pets / 'my_pets'}."
    assert done.steps[-1] == "clip-adapter train pets"
    assert not [step for step in done.steps if "split.json" in step]
    assert [path for path, _ in server.requests] == ["/split.json"]
    assert (pets / "my_pets" / "split.json").read_bytes() == SPLIT
    assert fetch("pets", data=pets, reporter=Silent()).n_downloaded == 0


def test_a_split_file_alone_asks_for_no_licence_of_images(pets: Path, server: Server) -> None:
    for name in ("cat", "dog"):
        (pets / "my_pets" / "pets" / name).mkdir(parents=True)
    describe_pets(pets.parent, server, more="accept_licence: yes")
    assert fetch("pets", data=pets, reporter=Silent()).n_downloaded == 1


@pytest.mark.parametrize("name", ["stanford-cars", "ucf101"])
def test_a_split_file_is_named_by_the_address_whose_digest_is_known(
    name: str, tmp_path: Path
) -> None:
    described = describe(name)
    steps = steps_by_hand(find_described(described, tmp_path), tmp_path)
    assert [each.url for each in described.downloads if each.url in "".join(steps)]


@pytest.mark.parametrize("name", ["imagenet", "imagenet-sketch"])
def test_what_cannot_be_downloaded_is_said_in_steps(tmp_path: Path, name: str) -> None:
    done = fetch(name, data=tmp_path, reporter=Silent())
    assert (done.is_present, done.n_downloaded) == (False, 0)
    assert str(done.folder) in "".join(done.steps)
    assert done.steps[-1].startswith("clip-adapter ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*descriptions.known_names()])
def test_every_dataset_says_how_it_is_got_by_hand(tmp_path: Path, name: str) -> None:
    described = describe(name)
    steps = steps_by_hand(find_described(described, tmp_path), tmp_path)
    assert len(steps) >= 2
    assert str(tmp_path) in steps[0] + steps[1]


def test_a_name_that_is_not_known_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'eurosat'"):
        fetch("eurosta", data=tmp_path, reporter=Silent())
    with pytest.raises(DatasetError, match="nothing to fetch"):
        fetch("digits", data=tmp_path, reporter=Silent())
