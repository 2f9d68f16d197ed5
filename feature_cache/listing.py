"""What a listing of a folder tells about what lies in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Something in a folder.

    Attributes:
        name: Without the folder.
        size_bytes: As the folder tells it.
        modified: Seconds since 1970.
        is_folder: Whether it is a folder itself; links to folders are not.
    """

    name: str
    size_bytes: int
    modified: float
    is_folder: bool = False
