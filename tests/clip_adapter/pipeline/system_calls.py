"""The calls by which a store changes on disk, counted, and one of them made to fail."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["NAMES", "SystemCalls", "disk_error", "kill_this_process"]

NAMES = ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink")
_REAL = {name: getattr(os, name) for name in NAMES}


class SystemCalls:
    """Counts calls of `os` that change a folder; hands those it is told to spoil to `spoil`.

    Put the attributes of `replacements` in the place of those of `os`. Calls about other folders are not
    counted: how many of the encoder's locks are taken depends on what else runs on the machine.
    """

    def __init__(
        self,
        folder: Path,
        is_spoiled: Callable[[int], bool] = lambda _: False,
        spoil: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.n_calls = 0
        self._folder, self._is_spoiled, self._spoil = folder, is_spoiled, spoil
        self._descriptors: set[int] = set()

    @property
    def replacements(self) -> dict[str, Callable[..., Any]]:
        return {name: self._counted(name) for name in NAMES}

    def _counted(self, name: str) -> Callable[..., Any]:
        real = _REAL[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            inside = self._is_inside(args[0])
            if not inside or (name == "open" and not args[1] & os.O_CREAT):
                return self._noted(name, real(*args, **kwargs), inside=inside)
            self.n_calls += 1
            if self._is_spoiled(self.n_calls):
                if name == "write":  # a full disk, or death, comes in the middle of a file
                    real(args[0], args[1][: len(args[1]) // 2])
                self._spoil(self.n_calls)
            return self._noted(name, real(*args, **kwargs), inside=inside)

        return call

    def _is_inside(self, file: Any) -> bool:
        """Whether a path, or the file of a descriptor, is in the folder, or the folder itself."""
        if isinstance(file, int):
            return file in self._descriptors
        return Path(os.fsdecode(file)).is_relative_to(self._folder)

    def _noted(self, name: str, result: Any, *, inside: bool) -> Any:
        """The result of a call; of a file that it opened, whether that is in the folder."""
        if name == "open":
            (self._descriptors.add if inside else self._descriptors.discard)(result)
        return result


def disk_error(number: int) -> None:
    """Raise what a full disk raises, or every second time what a broken one does."""
    code = errno.ENOSPC if number % 2 else errno.EIO
    raise OSError(code, os.strerror(code))


def kill_this_process(_: int) -> None:
    """`kill -9`, at this very place."""
    os.kill(os.getpid(), signal.SIGKILL)
