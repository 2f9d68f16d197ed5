"""What a flow does with a Dask cluster that was started elsewhere, of real processes, as they come and go."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from clip_adapter.errors import UnavailableError
from tasks import dask_cluster
from tasks.executor import PrefectExecutor
from tests.tasks.dask_steps import name_process

runners = pytest.importorskip(
    "prefect_dask.task_runners", reason="the extra `dask` is not installed"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("prefect_server"),
]

CHECKOUT = Path(__file__).parents[2]
PARTS = ["part 0", "part 1", "part 2"]


def search_path(*checkouts: Path) -> str:
    """Where Python looks for the project and for this file, parts of which a flow sends."""
    return os.pathsep.join(map(str, (*checkouts, Path(__file__).parent)))


class Cluster:
    """A scheduler and its workers on loopback."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self.workers: list[subprocess.Popen[bytes]] = []
        port = self.address.rpartition(":")[2]
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"
        )

    def add_worker(self, *, checkout: Path = CHECKOUT, threads: int = 1) -> None:
        """Start a worker, without a nanny that would start it again."""
        options = ("--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        environment = {"PYTHONPATH": search_path(checkout, CHECKOUT)}
        self.workers.append(self._start("worker", self.address, *options, **environment))

    def kill_workers(self, *, working_on: Path | None = None) -> None:
        """Kill all workers, or the one whose process id is in a file."""
        for worker in self.workers:
            if working_on is None or worker.pid == int(working_on.read_text()):
                worker.send_signal(signal.SIGKILL)
                worker.wait()

    def _start(self, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd="/",
            env=os.environ | {"PYTHONPATH": search_path(CHECKOUT)} | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    for process in (*cluster.workers, cluster.scheduler):
        process.kill()
        process.wait()


@pytest.fixture(name="messages", autouse=True)
def _messages(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> list[str]:
    """What a flow says; the setting names the cluster."""
    found: list[str] = []
    monkeypatch.setattr("tasks.reporter.PrefectReporter.log", lambda _, text: found.append(text))
    monkeypatch.setenv("CLIP_ADAPTER_DASK", cluster.address)
    return found


def on(cluster: Cluster, work: Callable[[PrefectExecutor], Any]) -> Any:
    """What `work` returns when a flow on the cluster does it."""

    @flow(task_runner=runners.DaskTaskRunner(address=cluster.address))
    def run() -> Any:
        return work(PrefectExecutor())

    return run()


def all_parts(place: Path, *, seconds: float = 0.0) -> Callable[[PrefectExecutor], Any]:
    return lambda executor: executor.map(name_process, range(3), seconds=seconds, place=place)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def test_parts_follow_the_threads_of_the_workers(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker(threads=2)
    wanted = (2, 1, 7, PARTS)

    def ask(executor: PrefectExecutor) -> Any:
        asked = executor.parts(None), executor.parts(None, most=1), executor.parts(7)
        return *asked, all_parts(tmp_path)(executor)

    assert on(cluster, ask) == wanted


def test_a_cluster_without_workers_is_said_and_the_flow_works_alone(
    cluster: Cluster, tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "WITHOUT_WORKERS_SECONDS", 2.0)
    assert on(cluster, all_parts(tmp_path)) == PARTS
    assert f"waiting for a worker of the Dask scheduler at {cluster.address}" in messages
    assert any("has no worker: this process does the work" in each for each in messages)


def test_a_worker_of_another_version_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for package in ("clip_adapter", "feature_cache", "tasks"):
        shutil.copytree(CHECKOUT / package, other / package)
    (other / "feature_cache/added.py").touch()
    cluster.add_worker(checkout=other)
    with pytest.raises(UnavailableError, match=r"the Dask worker tcp://\S+ has another version"):
        on(cluster, all_parts(tmp_path))
    assert not (tmp_path / "0").exists()


def test_a_scheduler_that_is_killed_ends_the_flow_in_words(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_worker()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(on, cluster, all_parts(tmp_path, seconds=60.0))
        wait_for(tmp_path / "0")
        cluster.scheduler.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"does not answer .* unset CLIP_ADAPTER_DASK"):
            running.result()
    assert time.monotonic() - began < 60


def test_where_the_last_worker_is_killed_the_flow_does_what_is_left(
    cluster: Cluster, tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "WITHOUT_WORKERS_SECONDS", 2.0)
    cluster.add_worker()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(on, cluster, all_parts(tmp_path, seconds=3.0))
        wait_for(tmp_path / "0")
        cluster.kill_workers()
        assert running.result() == PARTS
    assert any("has lost its last worker" in each for each in messages)


def test_a_worker_that_dies_with_a_finished_part_ends_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The result may be lost with it, while another worker is still at work."""
    cluster.add_worker()
    cluster.add_worker()

    def work(executor: PrefectExecutor) -> Any:
        return executor.map(name_process, [0, 6], seconds=0.0, seconds_each=1.0, place=tmp_path)

    with ThreadPoolExecutor() as pool:
        running = pool.submit(on, cluster, work)
        wait_for(tmp_path / "0 has ended")
        cluster.kill_workers(working_on=tmp_path / "0")
        assert running.result() == ["part 0", "part 6"]


def test_a_cluster_without_workers_is_waited_for_once(
    cluster: Cluster, tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "WITHOUT_WORKERS_SECONDS", 1.0)

    def work(executor: PrefectExecutor) -> Any:
        return executor.parts(None), all_parts(tmp_path)(executor), all_parts(tmp_path)(executor)

    assert on(cluster, work) == (1, PARTS, PARTS)
    assert len([each for each in messages if each.startswith("waiting for a worker")]) == 1


def test_a_scheduler_that_was_never_there_is_named(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")
    cluster.scheduler.kill()
    cluster.scheduler.wait()
    with pytest.raises(UnavailableError, match=f"the Dask scheduler at {cluster.address} does not"):
        on(cluster, all_parts(tmp_path))
