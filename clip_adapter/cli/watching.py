"""A bar while a command works, if there is somebody to look at it."""

from contextlib import AbstractContextManager, nullcontext

from rich.console import Console

from clip_adapter.progress import Advance, bar


def watch(
    description: str, *, total: float, unit: str, quiet: bool = False
) -> AbstractContextManager[Advance]:
    """Show rate and time left on standard error, and nothing where it is no terminal.

    Args:
        description: What is being done.
        total: Units of work.
        unit: Of the rate.
        quiet: Show nothing: a program reads the answer.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return nullcontext(lambda _: None)
    return bar(description, total=total, unit=unit, console=console, transient=True)
