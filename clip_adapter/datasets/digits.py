"""Digits: 1,797 handwritten digits of 8 x 8 pixels, which scikit-learn contains."""

import os
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_adapter.datasets.sources import ImageSource, LabelledFile
from clip_adapter.datasets.splits import Split
from clip_adapter.errors import DatasetError
from clip_adapter.images import DEFAULT_OPTIONS, ReadOptions

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("a picture of the digit {}.",)


def open_digits(folder: Path, read: ReadOptions = DEFAULT_OPTIONS) -> ImageSource:
    """scikit-learn's digits, written once into `folder` as `<class>/<row>.png`.

    Bright ink on black, as in the data; the sixteen grey steps are stretched to 0..255. The rows
    come writer by writer, so they are split in order, as in scikit-learn's own example: the
    first half is train (its last fifth val), the second half test, and few writers are in both.

    Raises:
        DatasetError: the images cannot be written into `folder`.
    """
    images, labels = _load()
    files = tuple(
        _labelled(row, int(label), n_rows=len(labels)) for row, label in enumerate(labels)
    )
    try:
        for name in CLASS_NAMES:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for file, image in zip(files, images, strict=True):
            _write_once(folder / file.path, _png(image))
    except OSError as error:
        raise DatasetError(
            f"the images of the digits cannot be written to {folder}: {error.strerror}. What was "
            "stored before is complete: choose another folder with --images, CLIP_ADAPTER_DATA or "
            "--root, or make room there, and run the same again"
        ) from error
    return ImageSource(
        "digits", folder, class_names=CLASS_NAMES, templates=TEMPLATES, files=files, read=read
    )


def _load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels `[n, 8, 8]` and labels `[n]`: 64 grey steps and the digit a line of the file.

    Read from scikit-learn's files, since importing it takes a second.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DatasetError("the digits are part of scikit-learn, and that is not installed")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",")
    images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8)
    return images.reshape(-1, 8, 8), rows[:, -1].astype(np.int64)


def _labelled(row: int, label: int, *, n_rows: int) -> LabelledFile:
    return LabelledFile(f"{CLASS_NAMES[label]}/{row:04d}.png", label, split=_split(row, n_rows))


def _split(row: int, n_rows: int) -> Split:
    half = n_rows // 2
    if row >= half:
        return "test"
    return "train" if row < half - half // 5 else "val"


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    # Stored, not compressed: the bytes, and so their digest, are the same with every zlib.
    Image.fromarray(image).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _write_once(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
