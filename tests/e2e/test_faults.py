"""Whatever is cancelled or killed in the middle: the data are safe and the next run goes on."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers import Prefect, wait_until
from states import damaged_files

from feature_cache import stores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXTRACT = "extract-features/digits"
N_IMAGES, VIEWS = 1797, 9
N_FEATURES = N_IMAGES * (1 + VIEWS)


@pytest.fixture(scope="module", name="prefect")
def _prefect(
    make_prefect: Callable[[Path, Path], Prefect], tmp_path_factory: pytest.TempPathFactory
) -> Prefect:
    """One server for all tests: starting one takes longer than killing one."""
    folder = tmp_path_factory.mktemp("faults")
    prefect = make_prefect(folder / "prefect", folder / "store")
    prefect.start_server()
    prefect.deploy("digits")
    return prefect


@pytest.fixture(name="up")
def _up(prefect: Prefect, root: Path) -> Iterator["Extractions"]:
    """A store of the test's own, with a server and a worker."""
    prefect.start_worker()
    yield Extractions(prefect, root)
    if prefect.is_started("worker"):
        prefect.signal("worker")


@dataclass(frozen=True)
class Extractions:
    """Runs that extract the digits into one store."""

    prefect: Prefect
    root: Path

    def start(self) -> str:
        return self.prefect.run_deployment(EXTRACT, views=VIEWS, root=str(self.root))

    def stored(self) -> int:
        """The number of stored features of images, after every byte was verified."""
        assert damaged_files(self.root) == []
        return sum(store.statistics().n_views for store in stores(self.root))

    def start_and_wait_until_some_is_stored(self) -> str:
        run = self.start()
        files = self.root.glob
        self.prefect.wait_for(run, "Running")
        wait_until(lambda: list(files("features/*/image/*.parquet")), 120)
        assert self.prefect.flow_run(run)["state_name"] == "Running", "too quick to be disturbed"
        return run

    def counts(self, run: str) -> tuple[int, int]:
        """How many features a run encoded and how many it found, as its log says."""
        pattern = re.compile(r"(\d+) images encoded, (\d+) reused")

        def told() -> Any:
            found = [pattern.search(line) for line in self.prefect.logs(run)]
            return next((match for match in found if match), None)

        encoded, reused = wait_until(told, 30).groups()
        return int(encoded), int(reused)

    def assert_the_next_run_goes_on(self) -> None:
        kept = self.stored()
        assert 0 < kept < N_FEATURES
        run = self.start()
        self.prefect.wait_for(run, "Completed")
        assert self.counts(run) == (N_FEATURES - kept, kept)
        assert self.stored() == N_FEATURES


def test_what_a_cancelled_run_has_encoded_is_kept(up: Extractions) -> None:
    run = up.start_and_wait_until_some_is_stored()
    up.prefect.cancel(run)
    up.prefect.wait_for(run, "Cancelled")
    wait_until(lambda: not up.prefect.processes(run), 60)
    up.assert_the_next_run_goes_on()


def test_a_worker_killed_with_its_run_loses_a_batch_at_most(up: Extractions) -> None:
    run = up.start_and_wait_until_some_is_stored()
    up.prefect.signal("worker", signal.SIGKILL)
    up.prefect.kill_run(run)
    up.prefect.start_worker()
    up.assert_the_next_run_goes_on()


def test_a_run_whose_process_is_killed_is_crashed_at_once(up: Extractions) -> None:
    run = up.start_and_wait_until_some_is_stored()
    up.prefect.kill_run(run)
    up.prefect.wait_for(run, "Crashed", seconds=60)
    up.assert_the_next_run_goes_on()


def test_a_run_outlives_its_worker(up: Extractions) -> None:
    run = up.start_and_wait_until_some_is_stored()
    up.prefect.signal("worker", signal.SIGKILL)
    ended = up.prefect.wait_for(run)
    assert ended["state_name"] == "Completed", (ended["state"], up.prefect.logs(run))
    assert up.stored() == N_FEATURES


def test_a_run_taken_by_a_worker_that_dies_hinders_nobody(up: Extractions) -> None:
    run = up.start()
    up.prefect.wait_for(run, "Pending", "Running")
    up.prefect.signal("worker", signal.SIGKILL)
    up.prefect.kill_run(run)
    up.prefect.start_worker()
    up.prefect.wait_for(up.start(), "Completed")
    assert up.stored() == N_FEATURES


def test_a_run_outlives_a_restart_of_the_server(up: Extractions) -> None:
    run = up.start_and_wait_until_some_is_stored()
    up.prefect.signal("server", signal.SIGKILL)
    up.prefect.start_server()
    assert up.prefect.wait_for(run)["state_name"] == "Completed"
    assert up.counts(run) == (N_FEATURES, 0)
    after = up.start()  # the worker has found its way back as well
    up.prefect.wait_for(after, "Completed")
    assert up.counts(after) == (0, N_FEATURES)


def test_a_run_whose_server_is_killed_while_it_starts_is_started_again(up: Extractions) -> None:
    run = up.start()
    up.prefect.wait_for(run, "Pending")
    wait_until(lambda: up.prefect.processes(run), 60, every=0.02)
    assert up.prefect.flow_run(run)["state_type"] == "PENDING", "too quick to be disturbed"
    up.prefect.signal("server", signal.SIGKILL)
    time.sleep(20)  # the process starts, asks and finds nobody
    up.prefect.start_server()
    assert up.prefect.wait_for(run)["state_name"] == "Completed"
    assert up.stored() == N_FEATURES


def test_a_missing_model_without_a_network_ends_at_once(up: Extractions) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(up.root / "nothing")}
    id_ = up.prefect.deployment(EXTRACT)["id"]
    body = {
        "parameters": {"model": "ViT-B-32:laion2b_s34b_b79k", "root": str(up.root)},
        "job_variables": {"env": offline},
        "state": {"type": "SCHEDULED", "name": "Scheduled"},
    }
    run = up.prefect.call("POST", f"/deployments/{id_}/create_flow_run", body)["id"]
    ended = up.prefect.wait_for(run, "Failed")
    assert "HF_HUB_OFFLINE forbids to download" in ended["state"]["message"]
    assert ended["total_run_time"] < 30, "three retries take 72 seconds"


def test_two_deployments_on_one_dataset_encode_each_image_once(up: Extractions) -> None:
    train = {"shots": [1], "seeds": [1], "root": str(up.root)}
    first, second = up.start(), up.prefect.run_deployment("train-adapters/digits", **train)
    for run in (first, second):
        up.prefect.wait_for(run, "Completed")
    (encoded, reused), (also_encoded, also_reused) = up.counts(first), up.counts(second)
    assert encoded + also_encoded == N_FEATURES
    assert (encoded + reused, also_encoded + also_reused) == (N_FEATURES, N_IMAGES)
