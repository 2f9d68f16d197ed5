"""What a listing of a folder tells about a file."""

from dataclasses import dataclass

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """A file in a folder.

    Attributes:
        name: Without the folder.
        size_bytes: As the folder tells it.
        modified: Seconds since 1970.
    """

    name: str
    size_bytes: int
    modified: float
