"""One extraction, for a process of its own."""

import io
import time
from contextlib import redirect_stderr
from pathlib import Path

from tasks.encode_dataset import encode_dataset
from tasks.index_dataset import index_dataset
from tasks.references import Encoding

__all__ = ["extract_alone"]


def extract_alone(folder: Path, *, root: Path, model: str) -> tuple[float, int]:
    """Index a folder of classes and encode what the store lacks.

    Returns:
        Seconds, loading the model included, and how many images were encoded.
    """
    start = time.perf_counter()
    with redirect_stderr(io.StringIO()):  # progress
        indexed = index_dataset.fn(f"imagefolder:{folder}", root=root, data=root)
        encoded = encode_dataset.fn(indexed, Encoding(model=model))
    return time.perf_counter() - start, encoded.n_encoded
