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

__all__ = ["Extraction", "Undisturbed", "Zygote"]

CHECKOUT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60.0


@dataclass
class Zygote:
    """Starts extractions of one folder of photos with one model.

    Attributes:
        photos: The folder.
        model: Its name.
        diaries: A folder for what extractions write about themselves.
    """

    photos: Path
    model: str
    diaries: Path
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), self.model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        )
        if (found := self._line()) != "ready":
            self.close()
            raise AssertionError(found)

    def start(self, root: Path, **differences: Any) -> "Extraction":
        """An extraction into `root` under way; see `zygote.take_small_steps` for the settings."""
        diary = self.diaries / f"{next(self._numbers)}"
        order = {
            "root": str(root),
            "photos": str(self.photos),
            "model": self.model,
            "diary": str(diary),
            "views": 1,
            "write_every_seconds": 0.0,
            "files_worth_merging": 4,
            "pause": 0.0,
            "processes": 0,
            "die_at": 0,
            "loaded": True,  # with the model that the zygote has loaded already
        }
        return Extraction(self, self.ask(order | differences), diary)

    def ask(self, order: dict[str, Any]) -> Any:
        """The answer to one order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End it; what it has forked runs on."""
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
    """One process; `code` is how it ended, a negative number for a signal."""

    zygote: Zygote
    pid: int
    diary: Path
    code: int | None = None

    def notes(self) -> list[list[Any]]:
        """What it has written into its diary: moment, word, numbers."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        return [json.loads(line) for line in lines]

    def times_of(self, word: str) -> int:
        """How often it has written a word."""
        return sum(note[1] == word for note in self.notes())

    def has_ended(self) -> bool:
        """Whether it has; then `code` is set."""
        if self.code is None:
            self.code = self.zygote.ask({"poll": self.pid})
        return self.code is not None

    def wait_for(self, word: str, *, times: int = 1) -> bool:
        """Wait until it has written a word so often; False when it ends without."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.times_of(word) < times:
            if self.has_ended():
                return self.times_of(word) >= times
            assert time.monotonic() < deadline, self.notes()
            time.sleep(0.001)
        return True

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """Send a signal, unless it has ended already."""
        if not self.has_ended():
            (os.killpg if to_group else os.kill)(self.pid, number)

    def wait(self) -> int:
        """How it ended."""
        if self.code is None:
            self.code = self.zygote.ask({"wait": self.pid})
        return self.code

    def n_encoded(self, *, before: float = float("inf")) -> int:
        """How many rows it said, before a moment, that it had encoded."""
        return sum(self.encoded_batches(before=before))

    def encoded_batches(self, *, before: float = float("inf")) -> list[int]:
        """The sizes of the batches that it said, before a moment, it had encoded."""
        return [note[2] for note in self.notes() if note[1] == "encoded" and note[0] < before]

    def processes(self) -> list[int]:
        """Every living process of its group, itself the first while it lives."""
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return sorted(pid for pid in found if _is_alive_in(pid, group=self.pid))

    def kill(self) -> bool:
        """`kill -9`; whether that is how it ended."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def finish(self) -> tuple[int, int]:
        """How many images it encoded, and how many it found there."""
        assert self.wait() == 0, self.errors
        *_, (_, word, n_encoded, n_reused, _) = self.notes()
        assert word == "done"
        return n_encoded, n_reused

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        return Path(f"{self.diary}.stderr").read_text()


def _is_alive_in(pid: int, *, group: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended a moment ago
        return False
    state, _, its_group, *_ = status.rpartition(")")[2].split()
    return int(its_group) == group and state != "Z"


@dataclass(frozen=True)
class Undisturbed:
    """What an extraction comes to that nobody disturbs.

    Attributes:
        rows: Everything at rest afterwards.
        started: By phase, the seconds after its beginning at which it began.
        n_calls: Of the system, by which the store changed.
    """

    rows: frozenset[Row]
    started: dict[str, float]
    n_calls: int

    @classmethod
    def of(cls, zygote: Zygote, root: Path) -> "Undisturbed":
        """One extraction into an empty store."""
        extraction = zygote.start(root)
        extraction.finish()
        notes = extraction.notes()
        # Of two moments with one word the first counts.
        started = {word: moment - notes[0][0] for moment, word, *_ in reversed(notes)}
        return cls(rows_in(root), started, notes[-1][-1])

    @property
    def n_features(self) -> int:
        """Of images, all their views."""
        return len(features_in(self.rows))

    def seconds_in(self, phase: str) -> float:
        """How long it lasted, until the next one began."""
        following = [begin for begin in self.started.values() if begin > self.started[phase]]
        return min(following, default=0.0) - self.started[phase]
