"""Three ways from pictures to features: the pipeline's, the bare tower's, and the plain script's."""

import io
import tempfile
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.models import VIT_B_32
from clip_adapter.encoders import Encoder
from clip_adapter.images import WantedViews, prefetch
from clip_adapter.pipeline.encode import encode_dataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.index import IndexedDataset, index_dataset
from clip_adapter.pipeline.reporter import Reporter

BATCH_SIZE = 64


def extract(folder: Path, encoder: Encoder, *, root: Path) -> float:
    """Images a second of what the flow `extract-features` does once its model is loaded.

    Read, digest, decode, index, read again, cut, normalise, forward, write.
    """
    encoding = Encoding(model=encoder.name)
    vars(encoding)["_loaded"] = (encoder, {})  # the cached property
    start = time.perf_counter()
    with redirect_stderr(io.StringIO()):  # progress
        encoded = encode_dataset(_index(folder, root), encoding, reporter=Reporter())
    return encoded.n_encoded / (time.perf_counter() - start)


def ready_batches(folder: Path, encoder: Encoder, *, root: Path) -> list[Tensor]:
    """The pictures of a folder as the tower reads them, `[64, 3, h, w]` each."""
    with redirect_stderr(io.StringIO()):
        dataset = _index(folder, root)
    index = dataset.index
    wanted = [
        WantedViews(path, digest, (0,))
        for path, digest in zip(index.paths, index.image_sha256, strict=True)
    ]
    loaded = prefetch(dataset.folder, wanted, geometry=encoder.geometry)
    pixels = torch.from_numpy(np.concatenate([each.pixels for each in loaded]))
    return [encoder.preprocessing.normalise(batch) for batch in torch.split(pixels, BATCH_SIZE)]


def bare_forward(batches: list[Tensor], encoder: Encoder) -> float:
    """Images a second of the image tower alone."""
    start = time.perf_counter()
    with torch.inference_mode(), encoder.precision.autocast(encoder.device):
        features = [encoder.model.encode_image(batch) for batch in batches]
    return sum(map(len, features)) / (time.perf_counter() - start)


@dataclass(frozen=True)
class PlainScript:
    """What people write: open_clip as it comes, a DataLoader with its defaults, np.save.

    Attributes:
        model: in float32.
        transform: open_clip's own, for evaluation.
    """

    model: Any
    transform: Any

    @classmethod
    def load(cls, weights: Path) -> "PlainScript":
        """The same weights as the other sides have."""
        model, _, transform = open_clip.create_model_and_transforms(
            VIT_B_32, pretrained=str(weights)
        )
        return cls(model.eval(), transform)

    def extract(self, folder: Path) -> float:
        """Images a second."""
        start = time.perf_counter()
        loader = DataLoader(ImageFolder(folder, self.transform), batch_size=BATCH_SIZE)
        features = []
        with torch.no_grad():
            for pictures, _ in loader:
                features.append(self.model.encode_image(pictures).numpy())
        with tempfile.TemporaryFile() as file:
            np.save(file, np.concatenate(features))
        return sum(map(len, features)) / (time.perf_counter() - start)


def _index(folder: Path, root: Path) -> IndexedDataset:
    return index_dataset(f"imagefolder:{folder}", root=root, data=root, reporter=Reporter())
