"""The files of a service, and the status that its supervisor writes into one of them."""

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
"""Address on which the server listens."""
LOCKED_BY_ANOTHER = 3
"""Exit code of a supervisor that finds the folder locked by another."""


@dataclass(frozen=True)
class StatusFile:
    """Content of the lock file, written by the supervisor that has locked it.

    Attributes:
        pid: process id of the supervisor, which leads the process group of all it starts.
        port: port of the server on 127.0.0.1.
        stage: current step of the startup; "up" once everything runs.
        host: name of the machine on which `pid` and `port` mean something.
    """

    pid: int
    port: int
    stage: str
    host: str = field(default_factory=platform.node)

    @property
    def is_here(self) -> bool:
        """Whether the supervisor runs on this machine."""
        return self.host == platform.node()

    @property
    def api_url(self) -> str:
        """URL of the server's API."""
        return f"{self.ui_url}/api"

    @property
    def ui_url(self) -> str:
        """URL of the server's pages."""
        return f"http://{HOST}:{self.port}"

    def text(self) -> str:
        """JSON as stored in the file."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class ServiceFolder:
    """The files of a service; only the user who started it can read the folder.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def lock(self) -> Path:
        """Locked by the supervisor and every process it starts; holds the `StatusFile`."""
        return self.path / "up.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Locked by the supervisor alone, so free as soon as it is dead."""
        return self.path / "supervisor.lock"

    @property
    def password(self) -> Path:
        """The line that the UI asks for, `user:password`."""
        return self.path / "password"

    @property
    def shell_file(self) -> Path:
        """Variables for a shell whose `prefect` and `clip-adapter` are to use the service."""
        return self.path / "environment.sh"

    @property
    def prefect_home(self) -> Path:
        """PREFECT_HOME: the database and the results of flows."""
        return self.path / "home"

    @property
    def logs(self) -> Path:
        """One log each of the supervisor, the setup steps, the server and the worker."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """The log file of that name."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create the folders that are missing.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        self.logs.mkdir(exist_ok=True)
        self.prefect_home.mkdir(exist_ok=True)

    def status(self) -> StatusFile | None:
        """Read the status, which is valid while the file is locked; None if it is unreadable."""
        try:
            return StatusFile(**json.loads(self.lock.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
