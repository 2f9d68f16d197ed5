"""Pillow's warnings silenced while pictures are decoded, in as many threads as there are."""

import warnings
from threading import Lock

__all__ = ["Quiet", "quiet_pillow"]


class Quiet:
    """A context that ignores the warnings of the modules matching `pattern`, entered by many at once.

    `warnings.catch_warnings` puts back the filters it found, whoever changed them meanwhile: two
    threads that overlap would leave them altered for good. Here the first in changes them and the
    last out puts them back.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._lock = Lock()
        self._inside = 0
        self._outer = warnings.catch_warnings()

    def __enter__(self) -> None:
        """Add the filter, unless it is there."""
        with self._lock:
            if self._inside == 0:
                self._outer = warnings.catch_warnings()
                self._outer.__enter__()
                warnings.filterwarnings("ignore", module=self._pattern)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        """Put the filters back, unless somebody is still inside."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._outer.__exit__(None, None, None)


quiet_pillow = Quiet(r"PIL\.")
"""Entered by every thread that decodes; what Pillow merely warns about is decided there."""
