"""Steps that the workers of a test import."""

import time
from pathlib import Path


def name_process(number: int, *, seconds: float, place: Path) -> str:
    """Leave a file when it begins, wait, and say which part this was."""
    (place / f"{number}").touch()
    time.sleep(seconds)
    return f"part {number}"
