"""Where a service keeps its files, and what its supervisor says of itself."""

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clip_adapter.loopback import HOST

__all__ = ["HELD_BY_ANOTHER", "Note", "ServiceFolder"]

HELD_BY_ANOTHER = 3
"""The exit code of a supervisor that finds another holding the folder."""


@dataclass(frozen=True)
class Note:
    """What a supervisor writes into the file it holds.

    Attributes:
        pid: Of the supervisor, which leads the process group of all it starts.
        port: Of the server, on 127.0.0.1.
        stage: What it is at; "up" when everything is.
        host: The machine it runs on, where alone its number means anything.
    """

    pid: int
    port: int
    stage: str
    host: str = field(default_factory=platform.node)

    @property
    def is_here(self) -> bool:
        """Whether that is this machine."""
        return self.host == platform.node()

    @property
    def api_url(self) -> str:
        """Where programs find the server."""
        return f"http://{HOST}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        """Where people find it."""
        return f"http://{HOST}:{self.port}"

    def text(self) -> str:
        """As it stands in the file."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class ServiceFolder:
    """The files of a service; only its user can read the folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor and all it starts."""
        return self.path / "up.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor alone: a dead one holds nothing, even where its number lives on."""
        return self.path / "supervisor.lock"

    @property
    def password(self) -> Path:
        """The line that the UI asks for, `user:password`."""
        return self.path / "password"

    @property
    def shell_file(self) -> Path:
        """Sourced by a shell whose `prefect` and `clip-adapter` are to use the service."""
        return self.path / "environment.sh"

    @property
    def prefect_home(self) -> Path:
        """Prefect's own records: the database, the results of flows."""
        return self.path / "home"

    @property
    def logs(self) -> Path:
        """A file each for the supervisor, the steps of setting up, the server and the worker."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """The log of one of them."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Make what is missing.

        Raises:
            OSError: The folder cannot be written to.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        self.logs.mkdir(exist_ok=True)
        self.prefect_home.mkdir(exist_ok=True)

    def note(self) -> Note | None:
        """What the supervisor last wrote; it counts while the lock is held. None if unreadable."""
        try:
            return Note(**json.loads(self.lock.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
