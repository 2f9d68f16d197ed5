"""Classifiers of every kind with random numbers, and metadata for them."""

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from clip_adapter.methods import (
    AdapterClassifier,
    BlendedClassifier,
    CacheClassifier,
    KernelClassifier,
    LinearClassifier,
    PrototypeClassifier,
    SavedClassifier,
    WeightedCacheClassifier,
)
from clip_adapter.methods.classifier_metadata import ClassifierMetadata, EncoderMetadata

NAMES = ("a cat", "a dog", "a hen")
DIM = 8
FINGERPRINT = "0123456789abcdef"


def described(**fields: Any) -> ClassifierMetadata:
    """Metadata of a run that is in no store; the keywords are the fields that matter."""
    encoder = {"model": "glyphs", "fingerprint": FINGERPRINT, "logit_scale": 20.0}
    values: dict[str, Any] = {
        "encoder": EncoderMetadata(**{**encoder, **fields.pop("encoder", {})}),
        "dataset": "pets",
        "index_fingerprint": "ab" * 16,
        "run_fingerprint": "cd" * 16,
        "shots": 4,
        "seed": 1,
        "n_train": 12,
        "n_validation": 12,
        "selected_on": "validation",
        "temperature": 0.5,
        "trained_on": date(2026, 11, 29),
        "version": "0.1.0",
    }
    return ClassifierMetadata(**{**values, **fields})


def make(kind: str, **fields: Any) -> SavedClassifier:
    """A classifier of that kind for features of width 8."""
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    text: dict[str, Any] = {
        "class_prototypes": drawn(3, DIM),
        "logit_scale": 20.0,
        "class_names": NAMES,
    }
    bottleneck = {"down": drawn(2, DIM), "up": drawn(DIM, 2), "residual_ratio": 0.3}
    query = {"ratio_query": drawn(DIM), "ratio_offset": 0.3}
    cache = {"keys": drawn(12, DIM) / 3, "labels": np.arange(12) % 3, "alpha": 1.5, "beta": 5.5}
    makers: dict[str, Callable[[], Any]] = {
        "prototypes": lambda: PrototypeClassifier(**text),
        "linear": lambda: LinearClassifier(
            weight=10 * drawn(3, DIM), bias=drawn(3), class_names=NAMES
        ),
        "adapter": lambda: AdapterClassifier(**text, **bottleneck, output_activation=True),
        "predicted ratio": lambda: AdapterClassifier(
            **text, **bottleneck, **query, output_activation=False
        ),
        "cache": lambda: CacheClassifier(**text, **cache),
        "weighted cache": lambda: WeightedCacheClassifier(
            **text, **cache, image_weights=1 + drawn(12) ** 2, channels=np.float32(drawn(DIM) > -1)
        ),
        "kernel": lambda: KernelClassifier(
            **text, keys=drawn(12, DIM) / 3, values=drawn(12, 3), beta=2.0
        ),
        "blend": lambda: BlendedClassifier(
            parts=(PrototypeClassifier(**text), CacheClassifier(**text, **cache)),
            weights=(0.25, 1.5),
        ),
    }
    values: dict[str, Any] = {
        "method": "clip-adapter",
        "settings": {"epochs": 2},
        "encoder": FINGERPRINT,
        "metadata": described(),
    }
    return SavedClassifier(classifier=makers[kind](), **{**values, **fields})


@pytest.fixture
def make_classifier() -> Callable[..., SavedClassifier]:
    """Make a classifier of a kind; the keywords are fields of `SavedClassifier`."""
    return make


@pytest.fixture
def make_metadata() -> Callable[..., ClassifierMetadata]:
    """Make metadata; the keywords are fields that differ from plain ones."""
    return described
