"""One extraction, for a process of its own."""

import io
import time
from contextlib import redirect_stderr
from pathlib import Path

from clip_adapter.pipeline.extract import extract


def extract_alone(folder: Path, *, root: Path, model: str) -> tuple[float, int]:
    """Index a folder of classes and encode what the store lacks.

    Returns:
        Seconds, loading the model included, and how many images were encoded.
    """
    start = time.perf_counter()
    with redirect_stderr(io.StringIO()):  # progress
        encoded = extract(f"imagefolder:{folder}", model=model, root=root, data=root)
    return time.perf_counter() - start, encoded.n_encoded
