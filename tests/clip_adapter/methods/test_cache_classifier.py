"""A cache's file that is damaged is refused, whatever torch calls the damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from clip_adapter.methods import (
    CacheClassifier,
    DataError,
    SavedClassifier,
    load_classifier,
    save_classifier,
)
from clip_adapter.methods.saved_classifier import KEY


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    unit = np.eye(4, dtype=np.float32)
    cache = CacheClassifier(
        keys=unit,
        labels=np.array([0, 1, 0, 1]),
        alpha=1.0,
        beta=2.0,
        class_prototypes=unit[:2],
        logit_scale=10.0,
        class_names=("cat", "dog"),
    )
    path = tmp_path / "cache.safetensors"
    save_classifier(SavedClassifier(classifier=cache, method="tip-adapter", settings={}), path)
    return path


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 0, 2]),
        np.array([0, 1, 0, -1]),
        np.array([0, 1]),
        np.array([[0, 1, 0, 1]]),
    ],
)
def test_labels_that_fit_no_class_or_key_are_refused(path: Path, labels: np.ndarray) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"][KEY]
    path.write_bytes(save(load(content) | {"labels": labels}, metadata={KEY: metadata}))
    with pytest.raises(DataError, match=r"do not fit together|holds no classifier"):
        load_classifier(path)


def test_the_nearer_an_image_the_more_it_counts(path: Path) -> None:
    (scores,) = load_classifier(path).classifier.logits(np.eye(4, dtype=np.float32)[3:])
    # Its own key says dog at distance 0; one more dog and two cats at distance 1.
    assert scores == pytest.approx([2 * np.exp(-2.0), 1 + np.exp(-2.0)])
