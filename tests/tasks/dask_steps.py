"""Steps that the workers of a test import."""

import os
import time
from pathlib import Path


def name_process(number: int, *, seconds: float, seconds_each: float = 0.0, place: Path) -> str:
    """Leave a file with the process id when it begins and another when it ends, wait, and say which part this was."""
    begun = place / f"{number} begins"
    begun.write_text(str(os.getpid()))
    begun.rename(place / f"{number}")
    time.sleep(seconds + seconds_each * number)
    (place / f"{number} has ended").touch()
    return f"part {number}"
