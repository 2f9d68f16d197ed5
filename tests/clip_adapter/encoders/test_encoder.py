"""Pictures and prompts in, raw features out, each on its own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_adapter.encoders import Encoder, EncoderError, PromptTooLongError, load_encoder

BATCH_SIZE = 4
WORDS = ("river", "forest", "red", "of", "seven", "sea or lake")


@pytest.fixture(name="encoder", scope="module")
def _encoder(tiny_model: str) -> Encoder:
    return load_encoder(tiny_model, batch_size=BATCH_SIZE)


def noise(number: int, *, size: tuple[int, int] = (24, 20)) -> Image.Image:
    width, height = size
    generator = np.random.default_rng(number)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_pictures_of_any_size_become_the_pixels_the_model_reads(encoder: Encoder) -> None:
    pixels = encoder.preprocess([noise(0, size=size) for size in ((9, 30), (16, 16), (200, 50))])
    assert pixels.shape == (3, 3, 16, 16)
    assert pixels.dtype == torch.float32


def test_a_feature_is_raw_and_single_precision(encoder: Encoder) -> None:
    features = encoder.encode_images(encoder.preprocess([noise(0), noise(1)]))
    assert features.shape == (2, 16)
    assert features.dtype == np.float32
    assert not np.allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-3)


def test_features_are_those_of_the_model_itself(encoder: Encoder) -> None:
    pixels = encoder.preprocess([noise(number) for number in range(BATCH_SIZE)])
    with torch.no_grad():
        expected = encoder.model.encode_image(pixels).numpy()
    # The memory layout differs, so a rounding may.
    np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-6)


@given(numbers=st.lists(st.integers(0, 6), min_size=1, max_size=3 * BATCH_SIZE))
def test_a_picture_has_the_same_bits_whatever_its_place_and_neighbours(
    encoder: Encoder, numbers: list[int]
) -> None:
    together = encoder.encode_images(encoder.preprocess([noise(number) for number in numbers]))
    for number, found in zip(numbers, together, strict=True):
        alone = encoder.encode_images(encoder.preprocess([noise(number)]))[0]
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

    def watched(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        features: torch.Tensor = encode(batch)
        return features

    monkeypatch.setattr(encoder.model, "encode_image", watched)
    pixels = encoder.preprocess([noise(number) for number in range(n_pictures)])
    assert len(encoder.encode_images(pixels)) == n_pictures
    assert set(sizes) == {BATCH_SIZE}


def test_a_prompt_that_just_fits_is_read_whole(encoder: Encoder) -> None:
    # Start and end take two of the places.
    fitting = " ".join(["a"] * (encoder.context_length - 2))
    shorter = fitting.removesuffix(" a")
    features = encoder.encode_prompts([fitting, shorter])
    assert not np.array_equal(features[0], features[1])


def test_the_first_prompt_that_would_be_cut_is_named(encoder: Encoder) -> None:
    too_long = " ".join(["b"] * (encoder.context_length - 1))
    with pytest.raises(PromptTooLongError) as refusal:
        encoder.encode_prompts(["a river", too_long, too_long + " c"])
    message = str(refusal.value)
    assert f"{too_long!r} has more than the 16 tokens that local-dir:" in message
    assert message.endswith("shorten the class name or the template")


def test_a_prompt_too_long_is_a_value_error_of_the_family() -> None:
    assert issubclass(PromptTooLongError, EncoderError)
    assert issubclass(PromptTooLongError, ValueError)
