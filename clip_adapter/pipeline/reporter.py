"""The reporter shows messages and progress of the pipeline, by default on standard error."""

from contextlib import AbstractContextManager
from importlib.util import find_spec

from clip_adapter.escaping import escape_control_characters
from clip_adapter.progress import Advance, bar, lines
from clip_adapter.terminal import plain_console
from feature_cache import FeatureCacheError, Location, quarantine_file


class Reporter:
    """Write messages and progress to standard error; a subclass may write elsewhere.

    Messages may contain file names: control characters other than line breaks are escaped.
    """

    def log(self, message: str) -> None:
        """Write a message for the user."""
        _print(message)

    def warn(self, message: str) -> None:
        """Write a message about a failure that did not stop the work."""
        self.log(message)

    def progress(
        self, description: str, *, total: float, unit: str
    ) -> AbstractContextManager[Advance]:
        """Show the progress of a piece of work with its rate and the time left.

        A bar on a terminal, and in a notebook with ipywidgets, without which rich draws none;
        elsewhere a line every ten seconds and one at the end.

        Args:
            description: description of the work.
            total: number of units of work.
            unit: name of the unit, as "images".

        Returns:
            A context manager; entering it gives a function to call with the units just done.
        """
        console = plain_console(stderr=True)
        if find_spec("ipywidgets") if console.is_jupyter else console.is_terminal:
            return bar(description, total=total, unit=unit, console=console)
        return lines(description, total=total, unit=unit, log=self.log)

    def quarantine_file(self, path: Location, error: FeatureCacheError) -> None:
        """Rename a damaged file so that no reader finds it, and report which file and why.

        Use it only in work that makes again what the file held.
        """
        quarantine_file(path, error)
        self.log(f"set aside: {error}")


def _print(message: str) -> None:
    shown = escape_control_characters(message, keep="\n")
    plain_console(stderr=True).print(shown, soft_wrap=True)
