"""The end of the process before any one of its changes to a store."""

from collections.abc import Callable
from typing import Any

import pytest

from feature_cache import storage

__all__ = ["KilledError", "interrupt_at"]


class KilledError(Exception):
    """Stands for the end of the process."""


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the process before the change of that number to a file, counted from 0."""
    n_done = 0

    def count(operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal n_done
            if n_done == step:
                raise KilledError
            n_done += 1
            return operation(*args, **kwargs)

        return counted

    for name in ("write_atomic", "remove"):
        monkeypatch.setattr(storage, name, count(getattr(storage, name)))
