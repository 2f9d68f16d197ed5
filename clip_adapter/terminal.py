"""The terminal, on which names that users and files give are shown as they are."""

from rich.console import Console


def plain_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console of rich that takes no text for markup or the code of an emoji, unless told to.

    Rich's own console prints "features:cat: 3 rows" with a picture of a cat, and drops "[red]".

    Args:
        stderr: write to standard error instead of standard output.
        quiet: write nothing.
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)
