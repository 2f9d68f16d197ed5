"""Loaded by each Dask worker of a test: small batches, files at once, and one worker that dies."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from clip_adapter import encoders
from clip_adapter.encoders import Encoder
from clip_adapter.pipeline import feature_writer

BATCHES_BEFORE_DEATH = 3


def die_once(encode: Any, marker: Path) -> Any:
    """The first worker to make its third batch is killed; its batches before that are stored."""
    made = 0

    def encode_images(encoder: Any, pixels: Any) -> Any:
        nonlocal made
        made += 1
        if made > BATCHES_BEFORE_DEATH:
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return encode(encoder, pixels)

    return encode_images


module: Any = encoders
module.load_encoder = partial(module.load_encoder, batch_size=4)
feature_writer.WRITE_EVERY_SECONDS = 0.0
if marker := os.environ.get("TEST_DEATH_MARKER"):
    towers: Any = Encoder
    towers.encode_images = die_once(towers.encode_images, Path(marker))
