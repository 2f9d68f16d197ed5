"""After an outage the whole backlog of late runs is started, and the work is done once."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from servers import FINAL, Prefect, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
N_MISSED, EVERY_SECONDS = 5, 3


def schedule_runs(prefect: Prefect, name: str) -> None:
    """A schedule of a few runs from now on, that then has an end."""
    begin = datetime.now(UTC) + timedelta(seconds=5)
    rrule = (
        f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\n"
        f"RRULE:FREQ=SECONDLY;INTERVAL={EVERY_SECONDS};COUNT={N_MISSED}"
    )
    schedule = {"active": True, "schedule": {"rrule": rrule, "timezone": "UTC"}}
    id_ = prefect.deployment(name)["id"]
    prefect.call("POST", f"/deployments/{id_}/schedules", [schedule])  # type: ignore[arg-type]


@pytest.fixture(name="prefect", scope="module")
def _prefect(
    make_prefect: Callable[[Path, Path], Prefect], tmp_path_factory: pytest.TempPathFactory
) -> Prefect:
    folder = tmp_path_factory.mktemp("backlog")
    prefect = make_prefect(folder / "prefect", folder / "store")
    prefect.environment["PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS"] = "1"
    prefect.start_server()
    prefect.deploy("photos")
    return prefect


def test_a_backlog_trains_once(prefect: Prefect, photos: Path, tiny_model: str) -> None:
    name = "train-adapters/photos"
    id_ = prefect.deployment(name)["id"]
    parameters = {
        "dataset": f"imagefolder:{photos}",
        "model": tiny_model,
        "shots": [1],
        "seeds": [1],
    }
    prefect.call("PATCH", f"/deployments/{id_}", {"parameters": parameters})
    schedule_runs(prefect, name)
    # No worker: what is due is missed.
    wait_until(
        lambda: len([r for r in prefect.runs_of(name) if r["state_name"] == "Late"]) == N_MISSED,
        120,
    )
    prefect.start_worker()
    runs = wait_until(
        lambda: (
            (found := prefect.runs_of(name))
            and all(run["state_type"] in FINAL for run in found)
            and found
        ),
        300,
    )
    assert [run["auto_scheduled"] for run in runs] == [True] * N_MISSED
    *skipped, newest = [run["state_name"] for run in runs]
    assert Counter(skipped) == {"SkippedLate": N_MISSED - 1}, [prefect.logs(r["id"]) for r in runs]
    assert newest != "SkippedLate"
    assert newest in ("Completed", "UpToDate")
    # Prefect sends a run's log in batches, which may arrive after its last state.
    wait_until(lambda: any("does the work" in line for line in prefect.logs(runs[0]["id"])), 60)
    asked = "SELECT count(DISTINCT sweep_id) AS sweeps, count(*) AS runs FROM runs"
    told = prefect.run("clip-adapter", "sql", asked, "--format", "json")
    assert json.loads(told) == [{"sweeps": 1, "runs": 3}]
    prefect.signal("worker")


def test_what_a_person_starts_is_never_skipped(
    prefect: Prefect, photos: Path, tiny_model: str
) -> None:
    asked = {"dataset": f"imagefolder:{photos}", "model": tiny_model}
    first = prefect.run_deployment("extract-features/photos", **asked)
    second = prefect.run_deployment("extract-features/photos", **asked)
    prefect.start_worker()
    assert prefect.wait_for(first)["state_name"] == "Completed"
    assert prefect.wait_for(second)["state_name"] == "Completed"
