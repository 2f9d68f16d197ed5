"""An object store that is missing, refuses, dies in mid-run, or is interrupted."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest

from feature_cache import (
    FeatureStore,
    ObjectPath,
    ObjectStoreError,
    compact_folder,
    inspect_store,
    list_files,
    locate,
    object_store,
    quarantine_file,
    storage,
    stored_folders,
)

ENCODER = "ab" * 32
ROW = np.ones((1, 4), np.float32)
SLOW_SECONDS = 30.0  # pyarrow tries three times; on two busy cores this takes some ten seconds

WRITER = """
import os, sys
import numpy as np
from feature_cache import FeatureStore, locate, object_store

store = FeatureStore(locate(sys.argv[1]), "ab" * 32)
if sys.argv[2] == "die":
    class DyingStream:
        def __init__(self, stream): self.stream = stream
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def write(self, content):
            self.stream.write(content[: 12 * 2**20])  # the first part goes out
            self.stream.flush()
            os.kill(os.getpid(), 9)

    class Client:
        def __init__(self, client): self.client = client
        def __getattr__(self, name): return getattr(self.client, name)
        def open_output_stream(self, path):
            return DyingStream(self.client.open_output_stream(path))

    real = object_store._client
    object_store._client = lambda path: Client(real(path))
store.append_images([bytes(32)], np.ones((1, 5_000_000), np.float32))
print(store.read_images([bytes(32)]).shape)
"""


def run_writer(url: str, how: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WRITER, url, how],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def store_at(url: str) -> FeatureStore:
    return FeatureStore(locate(url), ENCODER)


def test_a_missing_bucket_reads_as_empty_and_refuses_to_be_written(
    object_store: Callable[[str], str],
) -> None:
    store = store_at(object_store("no-such-bucket/store"))
    assert store.missing_images([bytes(32)]) == [bytes(32)]
    assert not storage.is_folder(store.root)
    with pytest.raises(ObjectStoreError, match=r"no-such-bucket.*check the bucket"):
        store.append_images([bytes(32)], ROW)


@pytest.mark.slow
def test_a_script_that_used_an_object_store_ends_quietly_and_soon(object_root: ObjectPath) -> None:
    began = time.monotonic()
    ended = run_writer(object_root.url, "live")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "(1, 5000000)\n", "")
    assert time.monotonic() - began < SLOW_SECONDS


@pytest.mark.slow
def test_a_writer_killed_in_the_middle_of_an_upload_leaves_nothing_visible(
    object_root: ObjectPath,
) -> None:
    assert run_writer(object_root.url, "die").returncode == -9
    store = FeatureStore(object_root, ENCODER)
    assert list_files(store.folder / "image") == []
    assert store.missing_images([bytes(32)]) == [bytes(32)]
    assert run_writer(object_root.url, "live").returncode == 0


class InterruptedStream:
    """A stream whose user presses Ctrl-C right before the first byte is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, content: pa.Buffer) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        self._stream.write(content)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_an_upload_lets_it_end_whole(
    object_root: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_client = object_store._client

    class Client:
        @staticmethod
        def open_output_stream(path: str) -> InterruptedStream:
            return InterruptedStream(real_client(object_root).open_output_stream(path))

    monkeypatch.setattr(object_store, "_client", lambda _: Client)
    with pytest.raises(KeyboardInterrupt):
        object_store.write_atomic(object_root / "greeting", pa.py_buffer(b"well met by moonlight"))
    monkeypatch.undo()
    assert bytes(object_store.read(object_root / "greeting")) == b"well met by moonlight"


class Refusing(BaseHTTPRequestHandler):
    """A store that denies every request."""

    def refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = refuse  # noqa: N815  # the library's names

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def refusing_store(object_store: object) -> Iterator[str]:
    assert object_store  # which has put credentials into the environment
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"s3://bucket/store?endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        server.shutdown()
        thread.join()


def test_refused_credentials_are_told_without_repeating_them(refusing_store: str) -> None:
    store = store_at(refusing_store)
    tries: list[Callable[[], object]] = [
        lambda: store.missing_images([bytes(32)]),
        lambda: store.append_images([bytes(32)], ROW),
        lambda: storage.is_folder(store.root),
        lambda: storage.read(store.root / "a"),
        lambda: storage.write_atomic(store.root / "a", pa.py_buffer(b"a")),
        lambda: list(inspect_store(store.root, deep=True)),
    ]
    for each in tries:
        with pytest.raises(ObjectStoreError, match="check the bucket, the credentials") as refused:
            each()
        assert "hunter2" not in str(refused.value)


@pytest.mark.slow
def test_a_server_that_died_is_told_within_seconds_and_is_no_damage(
    object_store: Callable[[str], str],
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        port = server.server_port
    url = object_store("bucket/store").replace(
        object_store("").partition("endpoint_override=")[2].partition("&")[0], f"127.0.0.1:{port}"
    )
    began = time.monotonic()
    place = locate(url) / f"{'0' * 64}.parquet"
    assert isinstance(place, ObjectPath)
    with pytest.raises(ObjectStoreError, match="cannot be reached"):
        storage.read_end(place, 10)
    assert time.monotonic() - began < SLOW_SECONDS


@pytest.mark.slow
def test_a_store_that_stops_answering_costs_no_sound_file(
    object_root: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(object_root, ENCODER, on_corruption=quarantine_file)
    store.append_images([bytes(32)], ROW)
    store.append_images([bytes(31) + b"1"], ROW)
    images = next(each for each in stored_folders(object_root) if each.kind == "image-features")
    before = list_files(images.path)

    def time_out(path: ObjectPath, *_: int) -> pa.Buffer:
        raise ObjectStoreError(f"{path} cannot be reached: timeout")

    monkeypatch.setattr(object_store, "read", time_out)
    monkeypatch.setattr(object_store, "read_end", time_out)
    tries: list[Callable[[], object]] = [
        lambda: store.missing_images([bytes(32)]),
        lambda: store.append_images([bytes(30) + b"12"], ROW),
        lambda: compact_folder(images, on_corruption=quarantine_file),
        lambda: list(inspect_store(object_root, deep=True)),
        lambda: list(inspect_store(object_root, deep=False)),
    ]
    for each in tries:
        with pytest.raises(ObjectStoreError, match="timeout"):
            each()
    monkeypatch.undo()
    assert list_files(images.path) == before
