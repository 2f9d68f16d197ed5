"""Runs the steps of the pipeline: here one after the other, elsewhere as tasks of a scheduler."""

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

__all__ = ["Executor"]

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor:
    """Calls steps in this process; a subclass may hand them to threads, processes or machines.

    A step is a function of a module, its arguments and its result can be pickled, and what it has
    done is stored: calling it again does what is missing.
    """

    def parts(self, asked: int | None) -> int:
        """Number of parts to split work into: as asked for, else what suits this executor."""
        return asked or 1

    def call(self, step: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call one step and return its result."""
        return step(*args, **kwargs)

    def map(
        self, step: Callable[..., Result], items: Iterable[Item], /, **kwargs: Any
    ) -> list[Result | Exception]:
        """Call a step with each item as its first argument; wait until all calls have ended.

        Args:
            step: the function.
            items: one call each.
            kwargs: further arguments, the same for every call.

        Returns:
            The result of each call in the order of the items, or the exception it raised.
        """
        outcomes: list[Result | Exception] = []
        for item in items:
            try:
                outcomes.append(step(item, **kwargs))
            except Exception as error:  # noqa: BLE001  # returned to the caller, who raises it
                outcomes.append(error)
        return outcomes
