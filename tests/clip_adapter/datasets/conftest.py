"""Small real pictures, and indexes of pictures that need not exist."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_adapter.datasets import DatasetIndex, ImageSource, Split

FORMAT_OF = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}

Put = Callable[[Path, int], Path]
MakeIndex = Callable[[Sequence[tuple[bytes, int, Split]]], DatasetIndex]


def _noise(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(name="put")
def _put() -> Put:
    """Write the numbered 6 x 4 picture to a path whose suffix tells the format."""

    def put(path: Path, number: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = BytesIO()
        _noise(number).save(buffer, FORMAT_OF[path.suffix.lower()])
        path.write_bytes(buffer.getvalue())
        return path

    return put


@pytest.fixture(name="make_index", scope="session")
def _make_index() -> MakeIndex:
    """An index of (digest, label, split) rows; paths are numbered by position."""

    def make_index(rows: Sequence[tuple[bytes, int, Split]]) -> DatasetIndex:
        n_classes = 1 + max(label for _, label, _ in rows)
        source = ImageSource(
            "made-up",
            Path("nowhere"),
            class_names=tuple(f"class {label}" for label in range(n_classes)),
            templates=("{}",),
            files=(),
        )
        ones = np.ones(len(rows), dtype=np.int32)
        return DatasetIndex(
            source=source,
            paths=tuple(f"{row:06d}.png" for row in range(len(rows))),
            image_sha256=tuple(digest for digest, _, _ in rows),
            labels=np.array([label for _, label, _ in rows], dtype=np.int64),
            splits=tuple(split for _, _, split in rows),
            groups=(None,) * len(rows),
            widths=ones,
            heights=ones,
            n_bytes=ones.astype(np.int64),
            quarantined=(),
        )

    return make_index


@pytest.fixture(name="make_image", scope="session")
def _make_image() -> Callable[[int], bytes]:
    """The bytes of the numbered 6 x 4 picture as a PNG."""

    def make_image(number: int) -> bytes:
        buffer = BytesIO()
        _noise(number).save(buffer, "PNG")
        return buffer.getvalue()

    return make_image
