"""The executor runs the steps of the pipeline, by default one after the other in this process."""

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")
_IS_RETRIED = "is_retried"


def is_retried(step: Callable[..., Any]) -> bool:
    """Whether a scheduler should call a step again after a transient error of the storage."""
    return bool(vars(step).get(_IS_RETRIED, True))


def not_retried(step: Callable[P, Result]) -> Callable[P, Result]:
    """Mark a step that a scheduler must not call again after an error.

    An earlier step has just read the same storage, so that an error is not a transient one.
    """
    vars(step)[_IS_RETRIED] = False
    return step


class Executor:
    """Call steps in this process; a subclass may use threads, processes or other machines.

    A step is a module-level function whose arguments and result can be pickled. It stores what it
    does, so that calling it again does only what is missing.
    """

    def parts(self, asked: int | None, *, most: int | None = None) -> int:  # noqa: ARG002  # for subclasses
        """Number of parts to split work into: `asked`, or what suits this executor when None.

        Args:
            asked: number that a user asks for.
            most: largest number of parts that are worth a start of their own; not known when None.
        """
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
            items: first arguments, one for each call.
            kwargs: further arguments of every call.

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
