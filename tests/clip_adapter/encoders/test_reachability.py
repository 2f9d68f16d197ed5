"""Whether a host answers, asked on loopback only."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clip_adapter.encoders import ReachabilityCheck


class Refusing(BaseHTTPRequestHandler):
    """Answers every question with 404."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(name="listener")
def _listener() -> Iterator[socket.socket]:
    """A port of loopback that nobody answers on; refuses connections until it listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_host_that_says_no_has_answered() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        # It looks this often whether it shall stop.
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert ReachabilityCheck(f"http://127.0.0.1:{server.server_port}").is_reachable()
        server.shutdown()


def test_a_host_that_refuses_is_not_waited_for(listener: socket.socket) -> None:
    start = time.monotonic()
    assert not ReachabilityCheck(url(listener), seconds=60.0).is_reachable()
    assert time.monotonic() - start < 10.0  # a busy machine may be late to wake up


def test_a_host_that_never_speaks_is_waited_for_no_longer_than_asked(
    listener: socket.socket,
) -> None:
    listener.listen()
    start = time.monotonic()
    assert not ReachabilityCheck(url(listener), seconds=0.2).is_reachable()
    assert time.monotonic() - start < 2.0  # a busy machine may be late to wake up


def test_the_time_counts_from_the_question(listener: socket.socket) -> None:
    listener.listen()
    check = ReachabilityCheck(url(listener), seconds=0.6)
    time.sleep(0.7)
    start = time.monotonic()
    assert not check.is_reachable()
    assert time.monotonic() - start < 0.5


def test_a_host_that_does_not_speak_http_does_not_answer(listener: socket.socket) -> None:
    listener.listen()
    check = ReachabilityCheck(url(listener), seconds=0.5)
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"SSH-2.0-nonsense\r\n\r\n")
    assert not check.is_reachable()


@pytest.mark.parametrize("text", ["huggingface.co", "", "http://[", "ftp-mirror:/models"])
def test_what_is_no_url_does_not_answer(text: str) -> None:
    assert not ReachabilityCheck(text, seconds=0.5).is_reachable()


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[str]:
    """A proxy that knows every host, and answers 404 for it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
def test_a_host_is_asked_through_the_proxy_that_a_download_takes(
    variable: str, proxy: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    assert ReachabilityCheck(url(listener)).is_reachable()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not ReachabilityCheck(url(listener)).is_reachable()


def test_behind_a_socks_proxy_the_proxy_is_asked(
    proxy: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.replace("http", "socks5"))
    assert ReachabilityCheck(url(listener)).is_reachable()
    monkeypatch.setenv("ALL_PROXY", url(listener).replace("http", "socks5"))
    assert not ReachabilityCheck(proxy).is_reachable()
