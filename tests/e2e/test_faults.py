"""Whatever is cancelled or killed in the middle: the data are safe and the next run goes on."""

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from servers import FINAL, Prefect, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EXTRACT = "extract-features/digits"
N_IMAGES, VIEWS = 1797, 9
N_FEATURES = N_IMAGES * (1 + VIEWS)


@pytest.fixture(name="up")
def _up(prefect: Prefect) -> Iterator[Prefect]:
    """A server with a worker."""
    prefect.start_server()
    prefect.deploy("digits")
    prefect.start_worker()
    return prefect


def extract(prefect: Prefect) -> str:
    return prefect.run_deployment(EXTRACT, views=VIEWS)


def stored(prefect: Prefect) -> int:
    """Features of images at rest."""
    if not (prefect.root / "features").is_dir():
        return 0
    told = json.loads(prefect.run("clip-adapter", "cache", "stats", "--json"))
    return sum(each["views"] for each in told["encoders"])


def files(prefect: Prefect) -> int:
    return len(list((prefect.root / "features").glob("*/image/*.parquet")))


def until_some_is_stored(prefect: Prefect, run: str) -> None:
    prefect.wait_for(run, "Running")
    wait_until(lambda: files(prefect) or prefect.flow_run(run)["state_type"] in FINAL, 120)
    assert prefect.flow_run(run)["state_name"] == "Running", "too quick to be disturbed"


def counts(prefect: Prefect, run: str) -> tuple[int, int]:
    """How many features a run encoded and how many it found, as its log says."""
    pattern = re.compile(r"(\d+) images encoded, (\d+) reused")

    def told() -> Any:
        found = [pattern.search(line) for line in prefect.logs(run)]
        return next((match for match in found if match), None)

    encoded, reused = wait_until(told, 30).groups()
    return int(encoded), int(reused)


def assert_the_next_run_goes_on(prefect: Prefect, *, from_at_least: int) -> None:
    run = extract(prefect)
    prefect.wait_for(run, "Completed")
    encoded, reused = counts(prefect, run)
    assert encoded + reused == N_FEATURES
    assert reused >= from_at_least > 0
    assert stored(prefect) == N_FEATURES
    prefect.run("clip-adapter", "cache", "verify", "--deep")


def test_what_a_cancelled_run_has_encoded_is_kept(up: Prefect) -> None:
    run = extract(up)
    until_some_is_stored(up, run)
    up.cancel(run)
    up.wait_for(run, "Cancelled")
    wait_until(lambda: not up.processes(run), 60)
    kept = stored(up)
    assert 0 < kept < N_FEATURES
    assert_the_next_run_goes_on(up, from_at_least=kept)


def test_a_worker_killed_with_its_run_loses_a_batch_at_most(up: Prefect) -> None:
    run = extract(up)
    until_some_is_stored(up, run)
    up.signal("worker", signal.SIGKILL)
    up.kill_run(run)
    kept = stored(up)
    assert 0 < kept < N_FEATURES
    up.start_worker()
    assert_the_next_run_goes_on(up, from_at_least=kept)


def test_a_run_whose_process_is_killed_is_crashed_at_once(up: Prefect) -> None:
    run = extract(up)
    until_some_is_stored(up, run)
    up.kill_run(run)
    up.wait_for(run, "Crashed", seconds=60)
    assert_the_next_run_goes_on(up, from_at_least=stored(up))


def test_a_run_outlives_its_worker(up: Prefect) -> None:
    run = extract(up)
    until_some_is_stored(up, run)
    up.signal("worker", signal.SIGKILL)
    assert up.wait_for(run)["state_name"] == "Completed"
    assert stored(up) == N_FEATURES


def test_a_run_taken_by_a_worker_that_dies_hinders_nobody(up: Prefect) -> None:
    run = extract(up)
    up.wait_for(run, "Pending", "Running")
    up.signal("worker", signal.SIGKILL)
    up.kill_run(run)
    up.start_worker("another worker")
    again = extract(up)
    up.wait_for(again, "Completed")
    assert stored(up) == N_FEATURES


def test_a_run_outlives_a_restart_of_the_server(up: Prefect) -> None:
    run = extract(up)
    until_some_is_stored(up, run)
    up.signal("server", signal.SIGKILL)
    up.start_server()
    assert up.wait_for(run)["state_name"] == "Completed"
    assert counts(up, run) == (N_FEATURES, 0)
    after = extract(up)  # the worker has found its way back as well
    up.wait_for(after, "Completed")
    assert counts(up, after) == (0, N_FEATURES)


def test_two_deployments_on_one_dataset_encode_each_image_once(up: Prefect) -> None:
    first = extract(up)
    second = up.run_deployment("train-adapters/digits", shots=[1], seeds=[1])
    for run in (first, second):
        up.wait_for(run, "Completed")
    (encoded, reused), (also_encoded, also_reused) = counts(up, first), counts(up, second)
    assert encoded + also_encoded == N_FEATURES
    assert (encoded + reused, also_encoded + also_reused) == (N_FEATURES, N_IMAGES)
