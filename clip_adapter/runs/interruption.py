"""Calls that block in DuckDB, which Ctrl-C, SIGTERM and a limit of time end."""

import math
import time
from collections.abc import Callable
from threading import TIMEOUT_MAX, Event, Thread
from typing import TypeVar

from clip_adapter.runs.errors import RunStoreError

T = TypeVar("T")
REPEAT_SECONDS = 0.05


class TimeLimit:
    """Seconds that the calls of one statement may take together.

    Args:
        seconds: the limit; None or infinity for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._left = None if seconds is None or math.isinf(seconds) else min(seconds, TIMEOUT_MAX)

    def call(self, function: Callable[[], T], *, interrupt: Callable[[], None]) -> T:
        """Call a function in a thread, and interrupt it when the time is over or a signal comes.

        Python handles signals in the main thread, and only while that runs Python: DuckDB would have to
        return first. So DuckDB runs in another thread, and this one waits.

        Args:
            function: it blocks, and returns soon after `interrupt` was called.
            interrupt: makes `function` return; may be called from any thread.

        Raises:
            RunStoreError: the time is over.
            BaseException: whatever the function or the handler of a signal raises.
        """
        started = time.monotonic()
        outcome: list[T] = []
        failure: list[BaseException] = []
        is_done = Event()

        def work() -> None:
            try:
                outcome.append(function())
            except BaseException as error:  # noqa: BLE001  # it is raised in the thread that waits
                failure.append(error)
            finally:
                is_done.set()

        thread = Thread(target=work, daemon=True)
        try:
            thread.start()
            in_time = is_done.wait(self._left)
        except BaseException:  # of the handler of a signal, which may come while the thread starts
            _stop(thread, interrupt, is_done)
            raise
        if not in_time:
            _stop(thread, interrupt, is_done)
            raise RunStoreError(
                f"stopped after {self.seconds:g} s: ask for less, or allow more time (--max-seconds, in "
                "Python max_seconds)"
            )
        if self._left is not None:
            self._left = max(0.0, self._left - (time.monotonic() - started))
        if failure:
            raise failure[0]
        return outcome[0]


def _stop(thread: Thread, interrupt: Callable[[], None], is_done: Event) -> None:
    # A statement that has not begun when it is interrupted begins all the same.
    interrupt()
    while not is_done.wait(REPEAT_SECONDS) and thread.is_alive():
        interrupt()
