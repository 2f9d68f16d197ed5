"""A run is started again only where its server was away, is back, and the run has not begun."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread, Timer
from typing import Any

import pytest

from tasks import start_run

Answer = tuple[int, Any]


@pytest.fixture(name="serve")
def _serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, str]]]:
    """Start a server that gives these answers, the last one for ever, and is away at first."""
    monkeypatch.setattr(start_run, "POLL_SECONDS", 0.05)
    started: list[ThreadingHTTPServer] = []

    def serve(*answers: Answer, away: float = 0.0) -> dict[str, str]:
        remaining = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, body = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.server_bind()  # nobody listens yet
        started.append(server)

        def begin() -> None:
            server.server_activate()
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

        if away:
            Timer(away, begin).start()
        else:
            begin()
        url = f"http://127.0.0.1:{server.server_address[1]}/api"
        return {"PREFECT_API_URL": url, "PREFECT__FLOW_RUN_ID": "7"}

    yield serve
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLED", "FAILED"])
def test_a_run_that_has_begun_or_ended_is_not_started_again(
    serve: Callable[..., dict[str, str]], state: str
) -> None:
    assert not start_run.is_to_be_started_again(serve((200, {"state_type": state}), away=0.3))


def test_a_pending_run_whose_server_comes_back_is_started_again(
    serve: Callable[..., dict[str, str]],
) -> None:
    assert start_run.is_to_be_started_again(serve((200, {"state_type": "PENDING"}), away=0.3))


def test_a_server_that_is_busy_starting_is_waited_for(
    serve: Callable[..., dict[str, str]],
) -> None:
    answers = (503, {}), (502, {}), (200, {"state_type": "PENDING"})
    assert start_run.is_to_be_started_again(serve(*answers))


@pytest.mark.parametrize(
    "answer", [(200, {"state_type": "PENDING"}), (404, {}), (401, {}), (200, [])]
)
def test_where_the_server_answers_something_else_is_wrong(
    serve: Callable[..., dict[str, str]], answer: Answer
) -> None:
    assert not start_run.is_to_be_started_again(serve(answer))


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_run, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(start_run, "POLL_SECONDS", 0.05)
    assert not start_run.is_to_be_started_again({"PREFECT_API_URL": "http://127.0.0.1:9/api"})
