"""Nights in which a growing folder is retrained on, by a real server and a real worker."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from servers import FINAL, Json, Prefect, wait_until

__all__ = ["DEPLOYMENT", "PictureFolder", "Saboteur", "simulate"]

DEPLOYMENT = "train-adapters/photos"
MOST_FAILURES = 5
MOMENTS = ("PENDING", "RUNNING", "WRITING")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATE = "a picture of the digit {}."


@dataclass(frozen=True)
class PictureFolder:
    """Pictures of digits in `train|val|test/class`, of which more arrive.

    Attributes:
        folder: folder that pictures are added to.
        digits: folder of all pictures, by class.
    """

    folder: Path
    digits: Path

    def add(self, split: str, first: int, last: int, *, shifted: int = 0) -> None:
        """Add pictures first..last of every class, under the name of the class `shifted` places on."""
        for place, name in enumerate(DIGITS):
            target = self.folder / split / DIGITS[(place + shifted) % len(DIGITS)]
            target.mkdir(parents=True, exist_ok=True)
            for picture in sorted((self.digits / name).glob("*.png"))[first:last]:
                shutil.copy(picture, target / f"{name}-{picture.name}")


@dataclass
class Saboteur:
    """Kills the worker with all it runs, or the server, at states of the run that are drawn.

    A state, never a time: on a fast machine a run is over before a fixed number of seconds.

    Attributes:
        random: generator that draws what is killed and when.
        kills: number of kills that remain in each night.
        done: what was killed, and the state of the run at that moment.
    """

    random: Random
    kills: list[int]
    done: list[tuple[str, str]] = field(default_factory=list)

    def strike(self, prefect: Prefect, run_id: str) -> bool:
        """Kill, and start again what was killed; True if the run ended with it."""
        kind, moment = self.random.choice(["worker", "server"]), self.random.choice(MOMENTS)
        before = _stored(prefect)

        def is_reached() -> bool:
            state = prefect.flow_run(run_id)["state_type"]
            if moment == "PENDING":
                return state != "SCHEDULED"
            if state != "RUNNING":
                return state in FINAL
            return moment == "RUNNING" or _stored(prefect) != before

        wait_until(is_reached, 240, every=0.05)
        self.done.append((kind, str(prefect.flow_run(run_id)["state_type"])))
        prefect.signal(kind)
        if kind == "server":
            prefect.start_server()
            return False
        prefect.kill_run(run_id)
        prefect.start_worker()
        return prefect.flow_run(run_id)["state_type"] in ("PENDING", "RUNNING")


def _stored(prefect: Prefect) -> set[Path]:
    """The complete files of the store; a new one shows that the run makes progress."""
    return set(Path(prefect.environment["CLIP_ADAPTER_ROOT"]).rglob("*.parquet"))


def simulate(
    prefect: Prefect, pictures: PictureFolder, saboteur: Saboteur | None = None
) -> Iterator[tuple[str, Json]]:
    """Yield, for each night, the change of the folder and the run that trained on it.

    A night ends with the first run that is not killed.
    """
    prefect.environment["PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS"] = "1"
    prefect.start_server()
    prefect.deploy("photos")
    parameters = {
        "dataset": f"imagefolder:{pictures.folder}",
        "model": "glyphs",
        "methods": ["zero-shot", "clip-adapter", "gda"],
        "shots": [1, "all"],
        "seeds": [1, 2],
        "settings": {"clip-adapter": {"recipe": "fast"}},
        "templates": [TEMPLATE],
        "promote": True,
    }
    id_ = prefect.deployment(DEPLOYMENT)["id"]
    prefect.call("PATCH", f"/deployments/{id_}", {"parameters": parameters})
    prefect.start_worker()
    pictures.add("val", 60, 90)
    pictures.add("test", 90, 100)
    pictures.add("train", 0, 2)
    yield "a few pictures", night(prefect, saboteur)
    pictures.add("train", 2, 30)
    yield "many more", night(prefect, saboteur)
    yield "nothing new", night(prefect, saboteur)
    pictures.add("train", 30, 60, shifted=1)
    pictures.add("train", 100, 130, shifted=1)
    yield "more under wrong names", night(prefect, saboteur)


def night(prefect: Prefect, saboteur: Saboteur | None) -> Json:
    """Start scheduled runs until no kill remains and one has completed."""
    kills = saboteur.kills.pop(0) if saboteur else 0
    for _ in range(kills + MOST_FAILURES):
        run_id = scheduled_run(prefect)
        was_killed = bool(kills and saboteur and saboteur.strike(prefect, run_id))
        kills = max(0, kills - 1)
        if was_killed:
            continue
        run = prefect.wait_for(run_id)
        # After a regression nothing is scheduled any more until a person has looked.
        if run["state_type"] == "COMPLETED" and not kills:
            return run
    raise AssertionError(
        f"no run came to its end: {[r['state'] for r in prefect.runs_of(DEPLOYMENT)]}"
    )


def scheduled_run(prefect: Prefect) -> str:
    """The id of a run that the scheduler creates from a schedule with one date."""
    known = {run["id"] for run in prefect.runs_of(DEPLOYMENT)}
    id_ = prefect.deployment(DEPLOYMENT)["id"]
    if prefect.deployment(DEPLOYMENT)["paused"]:  # by a regression, whose run was then killed
        prefect.call("POST", f"/deployments/{id_}/resume_deployment")

    def is_there() -> Json | None:
        new = [run for run in prefect.runs_of(DEPLOYMENT) if run["id"] not in known]
        return new[0] if new else None

    for _ in range(MOST_FAILURES):
        begin = datetime.now(UTC) + timedelta(seconds=3)
        rrule = f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=SECONDLY;COUNT=1"
        body: Any = [{"active": True, "schedule": {"rrule": rrule, "timezone": "UTC"}}]
        prefect.call("POST", f"/deployments/{id_}/schedules", body)
        # A scheduler that was just started may look at a date that has passed.
        with suppress(AssertionError):
            run = wait_until(is_there, 20)
            assert run["auto_scheduled"]
            return str(run["id"])
    raise AssertionError("the scheduler makes no run")
