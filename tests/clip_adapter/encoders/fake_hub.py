"""A Hugging Face hub on loopback, and its cache on this machine."""

import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

COMMIT = "0123456789" * 4


class FakeHub:
    """Serves files from memory as the hub does, and remembers what it was asked for.

    Attributes:
        files: content by ORGANISATION/REPOSITORY/FILE.
        asked: files that were asked for, in order.
        url: its address.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        # It looks this often whether it shall stop.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: FakeHub, *arguments: object) -> None:
        self.hub = hub
        super().__init__(*arguments)  # type: ignore[arg-type]  # those of the server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        file = self.path.strip("/").replace("resolve/main/", "")
        content = self.hub.files.get(file)
        if "/resolve/" in self.path:  # the client asks for other things, too
            self.hub.asked.append(file)
        self.send_response(200 if content is not None else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def cache_on_hub(repository: str, home: Path, *, file: str, content: str = "") -> None:
    """Lay a file down as the hub's own cache does, in the home of the fixture `no_cache`."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    for part in (folder / "refs", folder / "snapshots" / "0123"):
        part.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0123")
    (folder / "snapshots" / "0123" / file).write_text(content)
