"""One safetensors file for a dataset's features, as any library reads it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_samples import assert_same, sample
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from feature_cache import InvalidInputError, NewerFormatError
from feature_cache.exchange import InvalidImportError, read_safetensors, write_safetensors

ORIGIN = {"dataset": "eurosat", "encoder": "ab" * 32, "model": "ViT-B-32:openai"}


def put(folder: Path, **changes: Any) -> Path:
    return write_safetensors(folder / "x.safetensors", sample(**{"description": ORIGIN} | changes))


def changed(path: Path, *, metadata: Any = (), **tensors: Any) -> Path:
    """The file with other tensors and metadata; None takes one away."""
    with safe_open(str(path), framework="numpy") as file:
        texts = file.metadata() | dict(metadata)
    arrays = load_file(path) | tensors
    kept = {name: array for name, array in arrays.items() if array is not None}
    save_file(kept, path, {key: text for key, text in texts.items() if text is not None})
    return path


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    path = put(tmp_path, views=np.ones((2, 6, 4), np.float32))
    tensors = load_file(path)
    shapes = {name: (tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()}
    assert shapes == {
        "image_features": ("float32", (6, 4)),
        "image_sha256": ("uint8", (6, 32)),
        "labels": ("int64", (6,)),
        "logit_scale": ("float64", (1,)),
        "logit_bias": ("float64", (1,)),
        "paths_ends": ("int64", (6,)),
        "paths_utf8": ("uint8", (6 * len("Forest/Forest_0.jpg"),)),
        "splits": ("int8", (6,)),
        "text_features": ("float32", (3, 4)),
        "views": ("float32", (2, 6, 4)),
    }
    np.testing.assert_array_equal(tensors["image_features"], sample().features)
    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata()
    assert ORIGIN.items() <= metadata.items()
    assert json.loads(metadata["class_names"]) == ["Annual Crop", "Forest", "Sea/Lake"]


def test_what_was_described_reads_back(tmp_path: Path) -> None:
    found = read_safetensors(put(tmp_path))
    assert_same(found, sample(description=ORIGIN))


def test_a_description_must_not_speak_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'version', which the format uses"):
        put(tmp_path, description={"version": "2"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "views",
    [
        np.ones((6, 4), np.float32),
        np.ones((2, 5, 4), np.float32),
        np.ones((2, 6, 4), np.float16),
        np.full((2, 6, 4), np.nan, np.float32),
        np.ones((0, 6, 4), np.float32),
    ],
)
def test_views_must_be_of_all_images(views: Any) -> None:
    with pytest.raises(InvalidImportError, match="views"):
        sample(views=views)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_features": None}, r"no tensor \['image_features'\]"),
        ({"labels": None}, r"no tensor \['labels'\]"),
        ({"labels": np.zeros(6, np.uint16)}, "tensor 'labels' is U16"),
        ({"labels": np.full(6, 3)}, "labels go from 3"),
        ({"labels": np.zeros(5, np.int64)}, "labels have 5 rows"),
        ({"image_sha256": np.zeros((6, 31), np.uint8)}, "image_sha256"),
        ({"image_features": np.full((6, 4), np.inf)}, "not finite"),
        ({"splits": np.full(6, 3, np.int8)}, "splits do not index"),
        ({"splits": np.full(6, -1, np.int8)}, "splits do not index"),
        ({"splits": np.zeros((6, 1), np.int8)}, "splits do not index"),
        ({"paths_utf8": np.zeros(3, np.uint8)}, "paths_ends do not cut"),
        ({"paths_utf8": np.full(114, 0xFF, np.uint8)}, "paths holds what is no text"),
        ({"paths_ends": np.array([19, 9, 19, 19, 19, 114])}, "paths_ends do not cut"),
        ({"paths_ends": np.array([-9, 9, 19, 19, 19, 114])}, "paths_ends do not cut"),
        ({"logit_scale": np.zeros(0)}, "logit_scale"),
        ({"logit_bias": np.zeros(0)}, "logit_bias"),
        ({"logit_bias": np.array([np.inf])}, "logit_bias is inf, expected a finite number"),
        ({"views": np.ones((1, 6, 5), np.float32)}, "views are float32"),
        ({"metadata": {"format": "pt"}}, "save the arrays as .npz"),
        ({"metadata": {"version": "one"}}, "save the arrays as .npz"),
        ({"metadata": {"class_names": None}}, "lack"),
        ({"metadata": {"class_names": '{"a": 1}'}}, "no list of text"),
        ({"metadata": {"class_names": "[" * 9999}}, "cannot be read"),
        ({"metadata": {"split_names": '["a", "b", "c"]'}}, "splits hold 'a'"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidImportError, match=reason) as refused:
        read_safetensors(changed(put(tmp_path), **changes))
    assert refused.value.source == tmp_path / "x.safetensors"


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NewerFormatError, match="format 2, this program reads up to format 1"):
        read_safetensors(changed(put(tmp_path), metadata={"version": "2"}))


def test_what_lacks_a_part_names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match=r"no tensor \['image_sha256'\]"):
        read_safetensors(changed(put(tmp_path), image_sha256=None))


def test_a_large_file_is_refused_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match="at most 100 are taken"):
        read_safetensors(put(tmp_path), max_bytes=100)


def test_a_file_is_not_replaced_unless_allowed(tmp_path: Path) -> None:
    path = put(tmp_path)
    with pytest.raises(InvalidInputError, match=r"x\.safetensors exists"):
        put(tmp_path)
    write_safetensors(path, sample(9), overwrite=True)
    assert len(read_safetensors(path)) == 9
