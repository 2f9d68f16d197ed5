"""Real processes that extract features, started in milliseconds, to be killed or waited for."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from states import Row, features_in, rows_in

__all__ = ["Extraction", "ForkServer", "Undisturbed"]

CHECKOUT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60.0


@dataclass
class ForkServer:
    """Starts extractions of one folder of photos with one model.

    Attributes:
        photos: folder of photos.
        model: name of the model.
        event_logs: folder for the event logs of the extractions.
    """

    photos: Path
    model: str
    event_logs: Path
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py")), self.model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        )
        if (found := self._line()) != "ready":
            self.close()
            raise AssertionError(found)

    def start(self, root: Path, **differences: Any) -> "Extraction":
        """Start an extraction into `root`; `fork_server.take_small_steps` uses the settings."""
        event_log = self.event_logs / f"{next(self._numbers)}"
        order = {
            "root": str(root),
            "photos": str(self.photos),
            "model": self.model,
            "event_log": str(event_log),
            "views": 1,
            "write_every_seconds": 0.0,
            "files_worth_merging": 4,
            "pause": 0.0,
            "processes": 0,
            "die_at": 0,
            "part": (0, 0),  # number and how many; all of the images
            "loaded": True,  # use the model that the fork server has loaded
        }
        return Extraction(self, self.ask(order | differences), event_log)

    def ask(self, order: dict[str, Any]) -> Any:
        """Send an order and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End the server; its children go on running."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@dataclass
class Extraction:
    """One process; `code` is its exit code, negative for a signal."""

    fork_server: ForkServer
    pid: int
    event_log: Path
    code: int | None = None

    def notes(self) -> list[list[Any]]:
        """Lines of the event log: time, word, numbers."""
        lines = self.event_log.read_text().splitlines() if self.event_log.exists() else []
        return [json.loads(line) for line in lines]

    def times_of(self, word: str) -> int:
        """Number of lines with this word."""
        return sum(note[1] == word for note in self.notes())

    def has_ended(self) -> bool:
        """Whether the process has ended; if so, `code` is set."""
        if self.code is None:
            self.code = self.fork_server.ask({"poll": self.pid})
        return self.code is not None

    def wait_for(self, word: str, *, times: int = 1) -> bool:
        """Wait until a word is logged that many times; False if the process ends before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.times_of(word) < times:
            if self.has_ended():
                return self.times_of(word) >= times
            assert time.monotonic() < deadline, self.notes()
            time.sleep(0.001)
        return True

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """Send a signal, unless the process has ended."""
        if not self.has_ended():
            (os.killpg if to_group else os.kill)(self.pid, number)

    def wait(self) -> int:
        """Wait for the exit code."""
        if self.code is None:
            self.code = self.fork_server.ask({"wait": self.pid})
        return self.code

    def n_encoded(self, *, before: float = float("inf")) -> int:
        """Number of rows that were encoded before a time."""
        return sum(self.encoded_batches(before=before))

    def encoded_batches(self, *, before: float = float("inf")) -> list[int]:
        """Sizes of the batches that were encoded before a time."""
        return [note[2] for note in self.notes() if note[1] == "encoded" and note[0] < before]

    def processes(self) -> list[int]:
        """Living processes of the group, in ascending order; the extraction itself is the first."""
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return sorted(pid for pid in found if _is_alive_in(pid, group=self.pid))

    def kill(self) -> bool:
        """Send SIGKILL; True if it ended the process."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def finish(self) -> tuple[int, int]:
        """Wait for success; the numbers of images encoded and reused."""
        assert self.wait() == 0, self.errors
        *_, (_, word, n_encoded, n_reused, _) = self.notes()
        assert word == "done"
        return n_encoded, n_reused

    @property
    def errors(self) -> str:
        """Text on standard error."""
        return Path(f"{self.event_log}.stderr").read_text()


def _is_alive_in(pid: int, *, group: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended a moment ago
        return False
    state, _, its_group, *_ = status.rpartition(")")[2].split()
    return int(its_group) == group and state != "Z"


@dataclass(frozen=True)
class Undisturbed:
    """The result of an extraction that is not interrupted.

    Attributes:
        rows: all rows of the store afterwards.
        started: for each phase, the seconds from the start of the extraction to that of the phase.
        n_calls: number of system calls that changed the store.
    """

    rows: frozenset[Row]
    started: dict[str, float]
    n_calls: int

    @classmethod
    def of(cls, fork_server: ForkServer, root: Path) -> "Undisturbed":
        """Run one extraction into an empty store."""
        extraction = fork_server.start(root)
        extraction.finish()
        notes = extraction.notes()
        # The first of several lines with one word counts.
        started = {word: moment - notes[0][0] for moment, word, *_ in reversed(notes)}
        return cls(rows_in(root), started, notes[-1][-1])

    @property
    def n_features(self) -> int:
        """Number of features of images, one for each view."""
        return len(features_in(self.rows))

    def seconds_in(self, phase: str) -> float:
        """Seconds from the start of a phase to that of the next."""
        following = [begin for begin in self.started.values() if begin > self.started[phase]]
        return min(following, default=0.0) - self.started[phase]
