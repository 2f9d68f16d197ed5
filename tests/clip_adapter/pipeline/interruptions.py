"""The end of the process before any one of its changes to a store."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from feature_cache import storage

__all__ = ["interrupted"]


class _KilledError(Exception):
    """Stands for the end of the process."""


def interrupted(root: Path, change: Callable[[Path], Any]) -> Iterator[tuple[int, Path]]:
    """Yield a copy of a store for each moment at which a change of it may be killed, and one where it is not."""
    for step in count():
        copy, is_done = root.parent / f"copy-{step}", False
        shutil.copytree(root, copy)
        with pytest.MonkeyPatch.context() as patch, suppress(_KilledError):
            _interrupt_at(patch, step)
            change(copy)
            is_done = True
        yield step, copy
        if is_done:
            return


def _interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the process before the change of that number to a file, counted from 0."""
    n_done = 0

    def counting(operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal n_done
            if n_done == step:
                raise _KilledError
            n_done += 1
            return operation(*args, **kwargs)

        return counted

    for name in ("write_atomic", "remove"):
        monkeypatch.setattr(storage, name, counting(getattr(storage, name)))
