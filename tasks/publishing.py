"""What everything has in common that is shown in Prefect's UI."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import get_current_settings

from tasks.progress import warn

__all__ = ["has_audience", "publishing"]


def has_audience() -> bool:
    """Whether the server outlives the run: a private one ends with it, and shows nobody anything."""
    return get_current_settings().api.url is not None


@contextmanager
def publishing(what: str) -> Iterator[None]:
    """Publish in this context: whatever fails in it is a warning, for the work itself is done."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # a server, a disk or a renderer, each with its own errors
        reason = str(error).partition("\n")[0]  # some bring their backtrace along
        warn(f"{what} could not be published, the runs are on record all the same: {reason}")
