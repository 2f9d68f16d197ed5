"""Shorter numbers: another encoder, with features close to those of float32."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clip_adapter.encoders import EncoderError, load_encoder
from clip_adapter.encoders.forward_pass import PrecisionPolicy
from clip_adapter.errors import UnknownNameError
from clip_adapter.images import decode_image

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / norms)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", np.float32), ("fp16", np.float16)])
def test_features_of_half_as_many_bits_are_close_and_not_equal(
    tiny_model: str, precision: str, dtype: type
) -> None:
    full, half = load_encoder(tiny_model), load_encoder(tiny_model, precision=precision)
    for encode in ("encode_images", "encode_prompts"):
        inputs: Any = PIXELS if encode == "encode_images" else ["a river", "a sea"]
        expected, found = getattr(full, encode)(inputs), getattr(half, encode)(inputs)
        assert found.dtype == dtype
        assert not np.array_equal(found.astype(np.float32), expected)
        # Random towers of one block, and 8 bits of mantissa.
        assert cosines(found, expected).min() > 0.99


def test_the_precision_is_part_of_the_identity_and_changes_nothing_else(tiny_model: str) -> None:
    identities = [
        load_encoder(tiny_model, precision=precision).identity
        for precision in ("fp32", "bf16", "fp16")
    ]
    for other in identities[1:]:
        # The version as well, since both short formats have been computed in another way before.
        changed = [each.field for each in identities[0].differences(other.fields())]
        assert changed == ["precision", "format_version"]
    assert [identity.format_version for identity in identities] == [1, 2, 2]


def test_a_row_of_bf16_has_the_same_bits_whatever_its_neighbours(tiny_model: str) -> None:
    encoder = load_encoder(tiny_model, precision="bf16", batch_size=4)
    together = encoder.encode_images(PIXELS)
    for row, found in enumerate(together):
        np.testing.assert_array_equal(found, encoder.encode_images(PIXELS[row : row + 1])[0])


def test_what_others_set_around_it_does_not_reach_a_float32_encoder(tiny_model: str) -> None:
    encoder = load_encoder(tiny_model)
    expected = encoder.encode_images(PIXELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(encoder.encode_images(PIXELS), expected)


def test_an_unknown_precision_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UnknownNameError, match="precision 'bf61': did you mean 'bf16'"):
        load_encoder("no such model", precision="bf61")


@pytest.mark.parametrize("value", [70_000.0, float("nan")])
def test_fp16_that_overflows_says_so(value: float) -> None:
    with pytest.raises(EncoderError, match=r"fp16 overflows.*bf16 or fp32"):
        PrecisionPolicy.of("fp16").cast_features(torch.tensor([[1.0, value]]))
    PrecisionPolicy.of("bf16").cast_features(torch.tensor([[1.0, 70_000.0]]))


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_matrix_products_are_computed_in_the_precision(
    precision: str, expected: torch.dtype
) -> None:
    with PrecisionPolicy.of(precision).autocast(CPU), torch.inference_mode():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected


def test_weights_of_the_image_tower_alone_are_rounded_once(tiny_model: str) -> None:
    model = load_encoder(tiny_model, precision="bf16").model
    image_tower = {id(weight) for weight in model.visual.parameters()}
    rounded = {id(weight) for weight in model.parameters() if weight.dtype == torch.bfloat16}
    assert rounded
    assert rounded < image_tower
    attention = [each for each in model.visual.modules() if isinstance(each, nn.MultiheadAttention)]
    assert {id(weight) for each in attention for weight in each.parameters()} <= rounded


def test_layers_that_do_more_than_multiply_keep_their_weights() -> None:
    class Standardised(nn.Linear):
        """Divides its weights before it multiplies by them."""

    tower = nn.Sequential(nn.Linear(2, 2), Standardised(2, 2), nn.LayerNorm(2))
    PrecisionPolicy.of("bf16").round_weights(tower)
    assert [layer.weight.dtype for layer in tower] == [
        torch.bfloat16,
        torch.float32,
        torch.float32,
    ]


def test_float32_rounds_nothing() -> None:
    layer = nn.Linear(2, 2)
    PrecisionPolicy.of("fp32").round_weights(layer)
    assert layer.weight.dtype == torch.float32


@pytest.mark.shared_data
def test_bf16_is_not_close_enough_to_be_a_rule() -> None:
    """Holds the decision of docs/adr/0009-precision.md to its reason."""
    folder = os.environ.get("CLIP_ADAPTER_TEST_DATA")
    if not folder:
        pytest.skip("CLIP_ADAPTER_TEST_DATA names no folder with student/ and EuroSAT.zip")
    full, half = (
        load_encoder(f"local-dir:{folder}/student", precision=precision, batch_size=4)
        for precision in ("fp32", "bf16")
    )
    with zipfile.ZipFile(Path(folder) / "EuroSAT.zip") as archive:
        names = [f"2750/Forest/Forest_{number}.jpg" for number in range(1, 5)]
        pictures = [decode_image(archive.read(name)) for name in names]
    pixels = np.stack(
        [full.geometry.pixels(picture, image_sha256=bytes(32)) for picture in pictures]
    )
    assert cosines(full.encode_images(pixels), half.encode_images(pixels)).min() < 0.999
