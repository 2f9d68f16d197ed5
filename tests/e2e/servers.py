"""A real Prefect server and real workers of a test's own, to be used, killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

__all__ = ["CHECKOUT", "FINAL", "Prefect", "free_port", "prefect_environment", "wait_until"]

CHECKOUT = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
START_SECONDS, RUN_SECONDS = 180.0, 240.0
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
Json = dict[str, Any]


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prefect_environment(home: Path, root: Path, *, port: int) -> dict[str, str]:
    """The environment of a server, its workers and its clients, and of nobody else's."""
    ours = ("PREFECT", "CLIP_ADAPTER")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {
        "CLIP_ADAPTER_ROOT": str(root),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        "TMPDIR": str(home.parent),  # the machine's locks are ours, too
    }


@dataclass
class Prefect:
    """One server, its workers, and what a test does with them.

    Attributes:
        folder: folder for its home and its logs; nothing is there yet.
        root: root of the store.
        database: a new Prefect database to copy, so that the server need not create its tables.
        environment: environment of every process; to be changed before they start.
    """

    folder: Path
    root: Path
    database: Path
    environment: dict[str, str] = field(default_factory=dict)
    _has_pool: bool = False
    _started: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir(parents=True)
        shutil.copy(self.database, home / "prefect.db")
        ours = prefect_environment(home, self.root, port=free_port())
        self.environment = ours | self.environment
        self.api = httpx.Client(base_url=self.environment["PREFECT_API_URL"], timeout=30)

    # --- processes

    def start(self, name: str, *command: str) -> int:
        """Start a command that runs on, in a process group of its own; its process id."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started[name] = process
        return process.pid

    def start_server(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        self.start("server", "prefect", "server", "start", "--host", "127.0.0.1")
        wait_until(self.is_healthy, START_SECONDS)

    def start_worker(self, name: str = "worker") -> None:
        """Start a worker of the pool `local`, which is made if it is missing."""
        self.make_pool()
        self.start(name, "prefect", "worker", "start", "--pool", "local", "--name", name)

    def make_pool(self) -> None:
        """Put the pool `local` and the automations on the server, once."""
        if not self._has_pool:
            self.run(sys.executable, "-m", "tasks.server_objects", "local")
            self._has_pool = True

    def is_healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self.api.get("/health").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def is_started(self, name: str) -> bool:
        """Whether something was started under a name, and not ended."""
        return name in self._started

    def signal(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to what was started under a name, and wait until it has ended."""
        process = self._started.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait(60)

    def run(self, *command: object, seconds: float = START_SECONDS) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=CHECKOUT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def processes(self, flow_run_id: str = "") -> list[int]:
        """Living processes of this Prefect, or of one of its flow runs."""
        wanted = f"PREFECT_HOME={self.environment['PREFECT_HOME']}\0"
        run = f"PREFECT__FLOW_RUN_ID={flow_run_id}\0" if flow_run_id else ""
        return sorted(
            pid for pid, text in _environments() if wanted in f"{text}\0" and run in f"{text}\0"
        )

    def kill_run(self, flow_run_id: str) -> None:
        """`kill -9` every process of a flow run."""
        for pid in self.processes(flow_run_id):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End everything, and show what it wrote."""
        self.api.close()
        for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(AssertionError):
                wait_until(lambda: not self._reap(), seconds)
        for process in self._started.values():
            process.wait(10)
        for log in sorted(self.folder.glob("*.log")):
            sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-8000:]}\n")

    def _reap(self) -> list[int]:
        for process in self._started.values():
            process.poll()
        return self.processes()

    # --- the API

    def call(self, method: str, path: str, body: Json | None = None) -> Any:
        """What the server answers; where it is busy for a moment it is asked again, as Prefect does."""
        answer = self.api.request(method, path, json=body)
        for _ in range(5):
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(2)
            answer = self.api.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def deploy(self, *names: str) -> None:
        """Put the deployments of these names, or all, on the server; the pool as well."""
        self.make_pool()
        chosen = [part for name in names for part in ("--name", name)] or ["--all"]
        self.run("prefect", "--no-prompt", "deploy", *chosen, seconds=300)

    def deployment(self, name: str) -> Json:
        """A deployment by `flow/name`."""
        found: Json = self.call("GET", f"/deployments/name/{name}")
        return found

    def run_deployment(self, name: str, **parameters: Any) -> str:
        """Ask for a run of a deployment; its id."""
        id_ = self.deployment(name)["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED", "name": "Scheduled"}}
        run: Json = self.call("POST", f"/deployments/{id_}/create_flow_run", body)
        return str(run["id"])

    def flow_run(self, id_: str) -> Json:
        """A flow run as the server knows it."""
        found: Json = self.call("GET", f"/flow_runs/{id_}")
        return found

    def runs_of(self, name: str) -> list[Json]:
        """The flow runs of a deployment, the earliest first."""
        body = {"deployments": {"id": {"any_": [self.deployment(name)["id"]]}}}
        found: list[Json] = self.call("POST", "/flow_runs/filter", body)
        return sorted(found, key=lambda run: str(run["expected_start_time"]))

    def wait_for(self, id_: str, *states: str, seconds: float = RUN_SECONDS) -> Json:
        """Wait until a flow run is in a state of one of these names or types, else final."""
        wanted = states or FINAL

        def is_there() -> Json | None:
            with suppress(httpx.HTTPError):  # the server may be away
                run = self.flow_run(id_)
                if {run["state_name"], run["state_type"]} & set(wanted):
                    return run
                assert run["state_type"] not in FINAL, (run["state"], self.logs(id_))
            return None

        return wait_until(is_there, seconds)

    def logs(self, id_: str) -> list[str]:
        """What a flow run has written to its log, as far as the server has it."""
        body = {"logs": {"flow_run_id": {"any_": [id_]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.call("POST", "/logs/filter", body)]

    def cancel(self, id_: str) -> None:
        """Ask for the cancellation of a flow run, as the UI does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.call("POST", f"/flow_runs/{id_}/set_state", {"state": state})


def wait_until(answer: "Callable[[], Any]", seconds: float, *, every: float = 0.2) -> Any:
    """The first true answer, asked for every so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {answer}"
        time.sleep(every)
    return found


def _environments() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            yield int(path.parent.name), path.read_bytes().decode(errors="replace")
