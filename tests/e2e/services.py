"""`clip-adapter up`, `status` and `down`, as a person would use them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from servers import CHECKOUT, free_port

__all__ = ["Service", "ended_afterwards"]

COMMAND = Path(sys.executable).with_name("clip-adapter")
KINDS = {
    "-m tasks.start_run": "other",
    "service.supervisor": "supervisor",
    "server start": "server",
    "-m tasks.": "setup",
    "worker start": "worker",
}
"""What a process is, by words of its command line."""


class Service:
    """`clip-adapter up`, `status` and `down` on a root and a port of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT", "CLIP_ADAPTER"))
        } | {"CLIP_ADAPTER_ROOT": str(root), "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"}
        self.folder = root / "prefect"

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=self.root.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def up(self) -> str:
        done = self.run("up", "--port", self.port)
        assert done.returncode == 0, done.stderr + self.logs()
        return done.stdout

    def start_up(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [COMMAND, "up", "--port", str(self.port)],
            cwd=self.root.parent,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self) -> Any:
        return json.loads(self.run("status", "--json").stdout)

    def processes(self) -> dict[str, list[int]]:
        """By what they are: everything that runs below this root."""
        wanted = f"CLIP_ADAPTER_ROOT={self.root}\0".encode()
        found: dict[str, list[int]] = {kind: [] for kind in (*KINDS.values(), "other")}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if wanted in (path / "environ").read_bytes() and line:
                    found[kind_of(line)].append(int(path.name))
        return found

    def pids(self) -> list[int]:
        return [pid for pids in self.processes().values() for pid in pids]

    def stored(self) -> set[Path]:
        """The complete files of images' features: a new one shows that a run is at work."""
        return set(self.root.glob("features/*/image/*.parquet"))

    def login(self) -> tuple[str, str]:
        user, _, password = (self.folder / "password").read_text().strip().partition(":")
        return user, password

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}/api{path}", timeout=10, **options)

    def logs(self) -> str:
        found = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-4000:]}" for f in found)


def kind_of(line: str) -> str:
    return next((kind for words, kind in KINDS.items() if words in line), "other")


def ended_afterwards(service: Service) -> Iterator[Service]:
    try:
        yield service
    finally:
        for pid in service.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sys.stdout.write(service.logs())
