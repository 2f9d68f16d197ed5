"""Where the tasks of a flow run: threads of its own process, or a Dask cluster."""

from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from clip_adapter.errors import ClipAdapterError
from clip_adapter.settings import Settings

__all__ = ["RunnerError", "choose_parts", "choose_task_runner"]

LOCAL = "local:"


class RunnerError(ClipAdapterError, RuntimeError):
    """A task runner that cannot be had."""


def choose_task_runner() -> TaskRunner[Any]:
    """Threads, unless CLIP_ADAPTER_DASK names a scheduler, or `local:N` processes of this machine.

    Raises:
        RunnerError: prefect-dask is not installed, or N is no number.
    """
    where = Settings().dask
    if where is None:
        return ThreadPoolTaskRunner()
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415  # an extra, which few need
    except ImportError:
        raise RunnerError(
            f"CLIP_ADAPTER_DASK is {where!r}, but prefect-dask is not installed: "
            "pip install -e '.[pipeline,dask]', or unset it"
        ) from None
    if where.startswith(LOCAL):
        kwargs = {"n_workers": _n_local(where), "threads_per_worker": 1, "dashboard_address": None}
        return DaskTaskRunner(cluster_kwargs=kwargs)
    return DaskTaskRunner(address=where)


def choose_parts(asked: int | None) -> int:
    """As many parts as asked for; else one, or one a process of `CLIP_ADAPTER_DASK=local:N`."""
    where = Settings().dask or ""
    if asked is not None:
        return asked
    return _n_local(where) if where.startswith(LOCAL) else 1


def _n_local(where: str) -> int:
    number = where.removeprefix(LOCAL)
    if not number.isdecimal() or int(number) < 1:
        raise RunnerError(
            f"CLIP_ADAPTER_DASK is {where!r}: expected local:N with a number of processes, as "
            "local:2, or the address of a scheduler, as tcp://10.0.0.1:8786"
        )
    return int(number)
