"""The calls by which a store changes on disk, counted, and one of them made to fail."""

import errno
import os
import signal
from collections.abc import Callable
from typing import Any

__all__ = ["NAMES", "SystemCalls", "disk_error", "kill_this_process"]

NAMES = ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink")
_REAL = {name: getattr(os, name) for name in NAMES}


class SystemCalls:
    """Counts calls of `os` that change files; hands those it is told to spoil to `spoil`.

    Put the attributes of `replacements` in the place of those of `os`.
    """

    def __init__(
        self,
        is_spoiled: Callable[[int], bool] = lambda _: False,
        spoil: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.n_calls = 0
        self._is_spoiled, self._spoil = is_spoiled, spoil

    @property
    def replacements(self) -> dict[str, Callable[..., Any]]:
        return {name: self._counted(name) for name in NAMES}

    def _counted(self, name: str) -> Callable[..., Any]:
        real = _REAL[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            self.n_calls += 1
            if self._is_spoiled(self.n_calls):
                if name == "write":  # a full disk, or death, comes in the middle of a file
                    real(args[0], args[1][: len(args[1]) // 2])
                self._spoil(self.n_calls)
            return real(*args, **kwargs)

        return call


def disk_error(number: int) -> None:
    """Raise what a full disk raises, or every second time what a broken one does."""
    code = errno.ENOSPC if number % 2 else errno.EIO
    raise OSError(code, os.strerror(code))


def kill_this_process(_: int) -> None:
    """`kill -9`, at this very place."""
    os.kill(os.getpid(), signal.SIGKILL)
