"""Runs the steps of the pipeline as Prefect tasks: in threads of the flow's process, or on Dask."""

import errno
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from clip_adapter.errors import NoNetworkError, ParameterError, UnavailableError
from clip_adapter.pipeline.executor import Executor, is_retried
from clip_adapter.settings import Settings
from feature_cache import ObjectStoreError
from tasks.dask_cluster import DaskCluster
from tasks.reporter import PrefectReporter

PAUSES_SECONDS = [2.0, 10.0, 60.0]
"""Pauses before retries: for a reset connection, a remount and the restart of a file server."""
RETRIES = len(PAUSES_SECONDS)

_PASSING = frozenset(
    {
        errno.EIO,  # of a network folder whose server went away, and of a failing disk
        errno.ESTALE,  # the server of a network folder restarted
        errno.EAGAIN,
        errno.EBUSY,
        errno.ETIMEDOUT,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
    }
)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, may be gone in a minute.

    Weights that cannot be downloaded are no such thing: the host was asked, and what to do is in the message.
    """
    while error is not None:
        if isinstance(error, NoNetworkError):
            return False
        if isinstance(error, ObjectStoreError | TimeoutError | ConnectionError):
            return True
        if isinstance(error, OSError) and error.errno in _PASSING:
            return True
        error = error.__cause__
    return False


def when_transient(_task: Any, _task_run: Any, state: Any) -> bool:
    """`is_transient` with the signature of a task's `retry_condition_fn`."""
    return isinstance(state.data, BaseException) and is_transient(state.data)


LOCAL = "local:"

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


class PrefectExecutor(Executor):
    """Run each step as a task of the flow that calls it.

    The arguments of a step are bound before Prefect sees the task: it would look through every row
    of an index for futures, and show them all in its UI.

    Args:
        prepare: function to call before steps are mapped, to load what is needed after them.
    """

    def __init__(self, *, prepare: Callable[[], None] | None = None) -> None:
        self._prepare = prepare
        self._dask: DaskCluster | None = None

    def parts(self, asked: int | None, *, most: int | None = None) -> int:
        """The number of parts: `asked`, else one for each process of `CLIP_ADAPTER_DASK=local:N`.

        For a scheduler that was started elsewhere, one for each thread of its workers, `most` at most.
        """
        where = Settings.of().dask or ""
        if asked is not None:
            return asked
        if where.startswith(LOCAL):
            return _n_local(where)
        cluster = None if most == 1 else self._cluster()
        found = cluster.n_threads() if cluster else 1
        return max(1, found if most is None else min(found, most))

    def call(self, step: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run one step as a task of this process."""
        task: Any = as_task(step, *args, **kwargs)
        result: Result = task()
        return result

    def map(
        self, step: Callable[..., Result], items: Iterable[Item], /, **kwargs: Any
    ) -> list[Result | Exception]:
        """Run a step for each item, as tasks of the flow's task runner; a single one in this process."""
        tasks: list[Any] = [as_task(step, item, **kwargs) for item in items]
        if tasks and self._prepare:
            self._prepare()
        if len(tasks) == 1:
            return super().map(_run, tasks)
        cluster = self._cluster()
        if cluster and not cluster.n_threads():
            return super().map(_run, tasks)
        futures: list[PrefectFuture[Any]] = [task.submit() for task in tasks]
        if cluster:
            found = cluster.results(futures)
            left = [number for number in range(len(tasks)) if number not in found]
            here = super().map(_run, [tasks[number] for number in left])
            found |= dict(zip(left, here, strict=True))
            return [found[number] for number in range(len(tasks))]
        for future in futures:
            future.wait()
        return [future.result(raise_on_failure=False) for future in futures]

    def _cluster(self) -> DaskCluster | None:
        """The cluster of the flow, which remembers that it had no worker."""
        self._dask = self._dask or DaskCluster.of_flow(PrefectReporter().log)
        return self._dask


def as_task(step: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[[], Any]:
    """A task without parameters that calls a step, with retries unless the step is `not_retried`."""
    retries: dict[str, Any] = {
        "retries": RETRIES,
        "retry_delay_seconds": PAUSES_SECONDS,
        "retry_condition_fn": when_transient,
    }
    return Task(
        partial(step, *args, **kwargs),
        name=step.__name__.replace("_", "-"),
        cache_policy=NO_CACHE,
        result_serializer="json",
        **(retries if is_retried(step) else {}),
    )


def choose_task_runner() -> TaskRunner[Any]:
    """Threads, unless CLIP_ADAPTER_DASK names a scheduler, or `local:N` processes of this machine.

    Raises:
        UnavailableError: prefect-dask is not installed.
        ParameterError: n is not a number of processes.
    """
    where = Settings.of().dask
    if where is None:
        return ThreadPoolTaskRunner()
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415  # an extra, which few need
    except ImportError:
        raise UnavailableError(
            f"CLIP_ADAPTER_DASK is {where!r}, but prefect-dask is not installed: "
            "pip install -e '.[pipeline,dask]', or unset it"
        ) from None
    if where.startswith(LOCAL):
        kwargs = {"n_workers": _n_local(where), "threads_per_worker": 1, "dashboard_address": None}
        return DaskTaskRunner(cluster_kwargs=kwargs)
    return DaskTaskRunner(address=where)


def _run(task: Any) -> Any:
    return task()


def _n_local(where: str) -> int:
    number = where.removeprefix(LOCAL)
    if not number.isdecimal() or int(number) < 1:
        raise ParameterError(
            f"CLIP_ADAPTER_DASK is {where!r}: expected local:N with a number of processes, as "
            "local:2, or the address of a scheduler, as tcp://10.0.0.1:8786"
        )
    return int(number)
