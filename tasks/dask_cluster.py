"""A Dask cluster that was started elsewhere: its size, the version of its workers, and what follows where it goes away."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
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


class DaskCluster:
    """The cluster that a flow is connected to.

    Args:
        runner: the flow's `DaskTaskRunner`.
        log: function that takes a message about what is waited for.
    """

    def __init__(self, runner: Any, log: Callable[[str], None]) -> None:
        self._runner = runner
        self._log = log

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
        """Number of tasks that the workers run at once; 0 if no worker came within 45 s.

        Raises:
            UnavailableError: the scheduler does not answer, or a worker has another version of the code.
        """
        deadline = time.monotonic() + WITHOUT_WORKERS_SECONDS
        is_waiting = False
        while not (threads := self._threads()):
            if time.monotonic() > deadline:
                self._log(
                    f"the Dask scheduler at {self.address} has no worker: this process does the work "
                    f"(start workers with `dask worker {self.address} --nthreads 1`)"
                )
                return 0
            if not is_waiting:
                is_waiting = True
                self._log(f"waiting for a worker of the Dask scheduler at {self.address}")
            time.sleep(POLL_SECONDS)
        self._check_versions()
        return sum(threads)

    def wait(self, futures: Sequence[PrefectFuture[Any]]) -> bool:
        """Wait until all tasks have ended.

        Returns:
            Whether they have: False where the last worker has been gone for 45 s. The tasks that have not
            ended are cancelled then.

        Raises:
            UnavailableError: the scheduler went away.
        """
        last_seen = time.monotonic()
        while not all(map(_has_ended, futures)):
            with self._explained():
                for future in futures:
                    if not _has_ended(future):
                        future.wait(timeout=POLL_SECONDS)
                        break
                if any(_is_lost(future) for future in futures):
                    raise CancelledError
            if self._threads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > WITHOUT_WORKERS_SECONDS:
                with self._explained():
                    self._runner.client.cancel([each.wrapped_future for each in _open(futures)])
                self._log(
                    f"the Dask scheduler at {self.address} has lost its last worker: this process "
                    "does what is left"
                )
                return False
        return True

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
        except (OSError, CancelledError, RuntimeError) as error:  # of a client that was closed
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


def _has_ended(future: Any) -> bool:
    return future.wrapped_future.status in {"finished", "error"}


def _is_lost(future: Any) -> bool:
    return future.wrapped_future.status in {"cancelled", "lost"}


def _open(futures: Sequence[PrefectFuture[Any]]) -> list[Any]:
    return [each for each in futures if not _has_ended(each)]
