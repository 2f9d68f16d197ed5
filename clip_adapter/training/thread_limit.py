"""Limits of threads that last while any caller needs them, for small operations in loops."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ThreadLimit:
    """Sets a limit of the whole process while at least one caller is active.

    Callers in several threads overlap: the first sets the limit, the last restores what was before.

    Attributes:
        limit: sets the limit and returns what restores the number of threads.
    """

    def __init__(self, limit: Callable[[], Callable[[], None]]) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._users = 0
        self._restore: Callable[[], None] = lambda: None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Hold the limit until the block is left."""
        with self._lock:
            if self._users == 0:
                self._restore = self.limit()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._restore()


def _limit_blas() -> Callable[[], None]:
    import scipy.linalg  # noqa: F401, PLC0415  # only a BLAS that is loaded can be limited
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # not before a limit is needed

    restore: Callable[[], None] = threadpool_limits(
        limits=1, user_api="blas"
    ).restore_original_limits
    return restore


one_blas_thread = ThreadLimit(_limit_blas)
"""Limits the BLAS of numpy and scipy to one thread.

It is for loops of small BLAS calls, where threads wait for each other longer than they compute.
The limit is set once a loop, not once a call: to find the loaded libraries takes some
milliseconds. Other threads of the process compute with one BLAS thread in the meantime; torch, whose
BLAS is its own, does not.
"""
