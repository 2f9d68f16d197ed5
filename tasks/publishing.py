"""What everything has in common that is shown in Prefect's UI."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from prefect.settings import get_current_settings

from tasks.progress import warn

__all__ = ["has_audience", "prepare_to_draw", "publishing"]


def has_audience() -> bool:
    """Whether the server outlives the run: a private one ends with it, and shows nobody anything."""
    return get_current_settings().api.url is not None


def prepare_to_draw() -> None:
    """Load in a thread what draws, which takes two seconds, while others train: nobody waits then."""
    if has_audience():
        Thread(target=_load, daemon=True).start()


def _load() -> None:
    # What is wrong with it is said where it is used.
    with suppress(Exception):
        from clip_adapter.report import charts  # noqa: PLC0415  # see above

        charts.warm_up()


@contextmanager
def publishing(what: str) -> Iterator[None]:
    """Publish in this context: whatever fails in it is a warning, for the work itself is done."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # a server, a disk or a renderer, each with its own errors
        reason = str(error).partition("\n")[0]  # some bring their backtrace along
        warn(f"{what} could not be published, the runs are on record all the same: {reason}")
