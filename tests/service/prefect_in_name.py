"""A server that answers about flow runs as Prefect's does, and knows nothing else."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

__all__ = ["DEPLOYMENT", "PrefectInName"]

FLOW, DEPLOYMENT = str(UUID(int=1)), str(UUID(int=2))


class PrefectInName:
    """The runs a test gives it, on a port of loopback.

    Attributes:
        port: Where it answers.
        asked: Each request: its path, the header with the password, what it asks for.
        answers: By path, what is answered instead: a status and the body.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.runs: list[dict[str, Any]] = []
        self.names = {FLOW: "train-adapters", DEPLOYMENT: "digits"}

    def add(self, state: str, *, kind: str = "COMPLETED", hours: float = 1, **more: Any) -> str:
        """One more run, begun so many hours ago; its id."""
        id_ = str(UUID(int=1000 + len(self.runs)))
        when = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        self.runs.append(
            {
                "id": id_,
                "name": "busy-bee",
                "flow_id": FLOW,
                "deployment_id": DEPLOYMENT,
                "start_time": None if kind == "SCHEDULED" else when,
                "expected_start_time": when,
                "state_type": kind,
                "state_name": state,
                "state": {"message": more.pop("message", None)},
                "auto_scheduled": True,
                "parent_task_run_id": None,
                **more,
            }
        )
        return id_

    def found(self, path: str, body: Any) -> list[Any]:
        """What Prefect would answer: the filters and the limit of a request, as far as we use them."""
        kind = path.split("/")[2]
        if kind != "flow_runs":
            wanted = body[kind]["id"]["any_"]
            return [{"id": each, "name": self.names[each]} for each in wanted if each in self.names]
        types = body["flow_runs"].get("state", {}).get("type", {}).get("any_")
        alone = body["flow_runs"].get("parent_task_run_id") == {"is_null_": True}
        due = body["flow_runs"]["expected_start_time"]
        chosen = [
            run
            for run in self.runs
            if (types is None or run["state_type"] in types)
            and not (run["parent_task_run_id"] and alone)
            and due.get("after_", "") <= run["expected_start_time"] <= due["before_"]
        ]
        if body.get("sort") == "START_TIME_DESC":
            chosen.sort(key=lambda run: str(run["expected_start_time"]), reverse=True)
        return chosen[: body["limit"]]

    @contextmanager
    def serving(self) -> Iterator["PrefectInName"]:
        """Answer until the end of the block."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def _handler(prefect: PrefectInName) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prefect.asked.append((self.path, self.headers["Authorization"], body))
            otherwise = prefect.answers.get(self.path)
            code, content = otherwise or (200, json.dumps(prefect.found(self.path, body)).encode())
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    return Handler
