"""Pictures and prompts in, raw features out, each on its own."""

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_adapter.encoders import Encoder, load_encoder

BATCH_SIZE = 4
WORDS = ("river", "forest", "red", "of", "seven", "sea or lake")


@pytest.fixture(name="encoder", scope="module")
def _encoder(tiny_model: str) -> Encoder:
    return load_encoder(tiny_model, batch_size=BATCH_SIZE)


def noise(*numbers: int) -> np.ndarray:
    """Pixels of as many pictures, each made from its number alone."""
    return np.stack(
        [
            np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            for number in numbers
        ]
    )


def test_a_feature_is_raw_and_single_precision(encoder: Encoder) -> None:
    features = encoder.encode_images(noise(0, 1))
    assert features.shape == (2, 16)
    assert features.dtype == np.float32
    assert not np.allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-3)


def test_features_are_those_of_the_model_and_its_own_transform(
    encoder: Encoder, tiny_model: str
) -> None:
    pixels = noise(*range(BATCH_SIZE))
    _, _, transform = open_clip.create_model_and_transforms(tiny_model)
    pictures = torch.stack([transform(Image.fromarray(picture)) for picture in pixels])
    with torch.no_grad():
        expected = encoder.model.encode_image(pictures).numpy()
    # The memory layout differs, so a rounding may.
    np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-6)


@given(numbers=st.lists(st.integers(0, 6), min_size=1, max_size=3 * BATCH_SIZE))
def test_a_picture_has_the_same_bits_whatever_its_place_and_neighbours(
    encoder: Encoder, numbers: list[int]
) -> None:
    together = encoder.encode_images(noise(*numbers))
    for number, found in zip(numbers, together, strict=True):
        alone = encoder.encode_images(noise(number))[0]
        np.testing.assert_array_equal(found, alone)


@given(prompts=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3 * BATCH_SIZE))
def test_a_prompt_has_the_same_bits_whatever_its_place_and_neighbours(
    encoder: Encoder, prompts: list[str]
) -> None:
    for prompt, found in zip(prompts, encoder.encode_prompts(prompts), strict=True):
        np.testing.assert_array_equal(found, encoder.encode_prompts([prompt])[0])


def test_different_prompts_have_different_features(encoder: Encoder) -> None:
    assert len(np.unique(encoder.encode_prompts(WORDS), axis=0)) == len(WORDS)


@pytest.mark.parametrize("n_pictures", [1, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1, 9])
def test_a_last_batch_of_any_size_is_filled_up(
    encoder: Encoder, n_pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = encoder.model.encode_image

    def watched(batch: torch.Tensor, *, normalize: bool) -> torch.Tensor:
        sizes.append(len(batch))
        features: torch.Tensor = encode(batch, normalize=normalize)
        return features

    monkeypatch.setattr(encoder.model, "encode_image", watched)
    assert len(encoder.encode_images(noise(*range(n_pictures)))) == n_pictures
    assert set(sizes) == {BATCH_SIZE}


def test_pixels_may_be_an_array_or_a_tensor(encoder: Encoder) -> None:
    pixels = noise(1, 2, 3)
    np.testing.assert_array_equal(
        encoder.encode_images(pixels), encoder.encode_images(torch.from_numpy(pixels))
    )


def test_the_geometry_makes_the_pixels_the_model_reads(encoder: Encoder) -> None:
    picture = Image.fromarray(np.zeros((9, 30, 3), dtype=np.uint8))
    pixels = encoder.geometry.pixels(picture, image_sha256=bytes(32))
    assert encoder.encode_images(pixels[None]).shape == (1, 16)


@pytest.mark.parametrize("tower", ["encode_image", "encode_text"])
def test_a_tower_that_normalises_by_default_is_told_not_to(
    encoder: Encoder, tower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = getattr(encoder.model, tower)

    def like_coca(batch: torch.Tensor, *, normalize: bool = True) -> torch.Tensor:
        features: torch.Tensor = encode(batch, normalize=normalize)
        return features

    monkeypatch.setattr(encoder.model, tower, like_coca)
    features = (
        encoder.encode_images(noise(0))
        if tower == "encode_image"
        else encoder.encode_prompts(["a river"])
    )
    assert not np.allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-3)
