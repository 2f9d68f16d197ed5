"""Pictures made on the spot, always the same, and real ones where they are at hand."""

import os
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

Size = tuple[int, int]  # width, height, as Pillow has it

TILE: Size = (64, 64)
"""As EuroSAT's, some 3 kB a file."""
PHOTO: Size = (500, 375)
"""As ImageNet's and Caltech101's, some 40 kB a file."""
N_CLASSES = 10


def put_synthetic(folder: Path, numbers: range, *, size: Size = TILE) -> Path:
    """JPEGs of soft colours with grain, in ten classes; a number always makes the same picture."""
    for number in numbers:
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-8, 9, smooth.shape, dtype=np.int16)
        picture = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        place = folder / f"class{number % N_CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number:06d}.jpg", quality=90)
    return folder


def eurosat_archive() -> Path | None:
    """EuroSAT.zip in the folder that CLIP_ADAPTER_TEST_DATA names, if it is there."""
    folder = os.environ.get("CLIP_ADAPTER_TEST_DATA")
    archive = Path(folder or "") / "EuroSAT.zip"
    return archive if folder and archive.is_file() else None


def put_eurosat(archive: Path, folder: Path, numbers: range) -> Path:
    """EuroSAT's pictures of these numbers, spread over all classes, as class/picture.jpg."""
    with zipfile.ZipFile(archive) as content:
        names = sorted(name for name in content.namelist() if name.endswith(".jpg"))
        for number in numbers:
            # A step that shares no factor with 27,000 visits every picture once.
            name = PurePosixPath(names[number * 7919 % len(names)])
            place = folder / name.parent.name
            place.mkdir(parents=True, exist_ok=True)
            (place / name.name).write_bytes(content.read(str(name)))
    return folder
