"""A Dask cluster that was started elsewhere: its size, the version of its workers, and what follows where it goes away."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture

from clip_adapter.errors import UnavailableError

WITHOUT_WORKERS_SECONDS = 45.0
"""How long workers are waited for: they may be about to start."""
POLL_SECONDS = 1.0
_PACKAGES = ("clip_adapter", "feature_cache", "tasks")


class _NotYet(Exception):  # noqa: N818  # no error
    """A task has not ended."""


class DaskCluster:
    """The cluster that a flow is connected to.

    Args:
        runner: the flow's `DaskTaskRunner`.
        log: function that takes a message about what is waited for.
    """

    def __init__(self, runner: Any, log: Callable[[str], None]) -> None:
        self._runner = runner
        self._log = log
        self._had_none = False

    @classmethod
    def of_flow(cls, log: Callable[[str], None]) -> "DaskCluster | None":
        """The cluster of the current flow; None where its tasks run in threads, or on processes of its own."""
        context = FlowRunContext.get()
        runner = context.task_runner if context else None
        return cls(runner, log) if getattr(runner, "address", None) else None

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(self._runner.address)

    def n_threads(self) -> int:
        """Number of tasks that the workers run at once; 0 if there is none.

        Workers are waited for 45 s, unless there was none before.

        Raises:
            UnavailableError: the scheduler does not answer, or a worker has another version of the code.
        """
        if not self._threads() and not self._had_none:
            self._wait_for_worker()
        threads = self._threads()
        self._had_none = not threads
        if threads:
            self._check_versions()
        return sum(threads)

    def results(self, futures: Sequence[PrefectFuture[Any]]) -> dict[int, Any]:
        """Wait for tasks.

        Args:
            futures: the tasks.

        Returns:
            The result of each task by its position, or the exception that it raised. Where the last worker
            has been gone for 45 s, the tasks that have not ended are cancelled and have none.

        Raises:
            UnavailableError: the scheduler went away.
        """
        found: dict[int, Any] = {}
        last_seen = time.monotonic()
        while waiting := [number for number in range(len(futures)) if number not in found]:
            for number in waiting:
                # A result is fetched at once: it is lost with the worker that has it, and made again.
                future: Any = futures[number]
                if number == waiting[0] or future.wrapped_future.status in {"finished", "error"}:
                    with suppress(_NotYet):
                        found[number] = self._result(future)
            if self._threads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > WITHOUT_WORKERS_SECONDS:
                left: list[Any] = [futures[number] for number in waiting if number not in found]
                with self._explained():
                    self._runner.client.cancel([each.wrapped_future for each in left])
                self._had_none = True
                self._log(
                    f"the Dask scheduler at {self.address} has lost its last worker: this process "
                    "does what is left"
                )
                break
        return found

    def _result(self, future: PrefectFuture[Any]) -> Any:
        from distributed import KilledWorker  # noqa: PLC0415  # an extra, which few need

        with self._explained():
            try:
                return future.result(timeout=POLL_SECONDS, raise_on_failure=False)
            except TimeoutError:
                raise _NotYet from None
            except KilledWorker as error:
                return UnavailableError(
                    f"the Dask workers that were given one part of the work died, one after the other ({error}): "
                    "look into their logs, for a lack of memory first"
                )

    def _wait_for_worker(self) -> None:
        self._log(f"waiting for a worker of the Dask scheduler at {self.address}")
        deadline = time.monotonic() + WITHOUT_WORKERS_SECONDS
        while not self._threads():
            if time.monotonic() > deadline:
                self._log(
                    f"the Dask scheduler at {self.address} has no worker: this process does the work "
                    f"(start workers with `dask worker {self.address} --nthreads 1`)"
                )
                return
            time.sleep(POLL_SECONDS)

    def _threads(self) -> list[int]:
        with self._explained():
            workers = self._runner.client.scheduler_info(n_workers=-1)["workers"]
        return [each["nthreads"] for each in workers.values()]

    def _check_versions(self) -> None:
        with self._explained():
            found = self._runner.client.run(code_version, on_error="return")
        for worker, theirs in sorted(found.items()):
            if theirs != code_version():
                shown = (
                    theirs if isinstance(theirs, str) else f"none that is known ({theirs!r:.100})"
                )
                raise UnavailableError(
                    f"the Dask worker {worker} has another version of clip-adapter: {shown}, expected "
                    f"{code_version()}: bring its checkout up to date and start it again"
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, CancelledError) as error:
            raise UnavailableError(
                f"the Dask scheduler at {self.address} does not answer ({type(error).__name__}). What was "
                "finished is stored: start the scheduler and its workers, or unset CLIP_ADAPTER_DASK, and "
                "run this again"
            ) from error


@cache
def code_version() -> str:
    """The version of clip-adapter and the first digits of a digest of its files, the same on equal checkouts."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(
                    path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes()
                )
    try:
        number = version("clip-adapter")
    except PackageNotFoundError:
        number = "not installed"
    return f"{number} ({digest.hexdigest()[:8]})"
