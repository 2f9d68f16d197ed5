"""Pixels become what the tower reads with the bits of open_clip's own transform."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.transforms import Compose, Normalize, ToTensor

from clip_adapter.encoders import load_encoder
from clip_adapter.encoders.preprocessing import Preprocessing, preprocessing_of
from clip_adapter.errors import UnknownNameError
from clip_adapter.images import Geometry

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class LoadedModel:
    """What open_clip leaves on a model about its preprocessing."""

    def __init__(self, **settings: Any) -> None:
        self.preprocess_cfg = {"size": 16, "mean": CLIP_MEAN, "std": CLIP_STD, **settings}


@given(
    pixels=arrays(
        np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.just(3))
    ),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.1, 1)] * 3),
)
def test_every_bit_is_the_one_of_torchvisions_transforms(
    pixels: np.ndarray, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    transform = Compose([ToTensor(), Normalize(mean, std)])
    expected = torch.stack([transform(picture) for picture in pixels])
    preprocessing = Preprocessing(geometry=Geometry(size=(9, 9)), mean=mean, std=std)
    assert torch.equal(preprocessing.normalise(torch.from_numpy(pixels)), expected)


def test_the_pixels_are_left_alone_and_the_channels_lie_innermost() -> None:
    pixels = torch.full((2, 4, 5, 3), 7, dtype=torch.uint8)
    normalised = preprocessing_of(LoadedModel()).normalise(pixels)
    assert (pixels == 7).all()
    assert normalised.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": (8, 12)}, Geometry(size=(8, 12))),
        ({"resize_mode": None, "interpolation": None}, Geometry(size=(16, 16))),
        ({"resize_mode": "squash"}, Geometry(size=(16, 16), resize_mode="squash")),
        (
            {"resize_mode": "longest", "fill_color": 255, "interpolation": "bilinear"},
            Geometry(
                size=(16, 16), resize_mode="longest", fill_color=255, interpolation="bilinear"
            ),
        ),
    ],
)
def test_the_geometry_is_the_one_of_the_configuration(
    settings: dict[str, Any], expected: Geometry
) -> None:
    assert preprocessing_of(LoadedModel(**settings)).geometry == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"size": 16}, {"size": [16, 16]}),
        ({"mean": 0.5}, {"mean": [0.5, 0.5, 0.5]}),
        ({"interpolation": "random"}, {"interpolation": "bicubic"}),
        ({"resize_mode": None}, {"resize_mode": "shortest"}),
    ],
)
def test_two_spellings_of_the_same_preprocessing_are_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    spelled, differently = (preprocessing_of(LoadedModel(**each)) for each in (one, other))
    assert spelled.canonical() == differently.canonical()


@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
def test_the_resize_mode_may_be_chosen(tiny_model: str, resize: str) -> None:
    encoder = load_encoder(tiny_model, resize=resize)
    assert encoder.geometry.resize_mode == resize
    assert f'"resize_mode":"{resize}"' in encoder.identity.preprocessing


def test_the_models_own_mode_chosen_by_name_is_the_same_encoder(tiny_model: str) -> None:
    own = load_encoder(tiny_model)
    assert load_encoder(tiny_model, resize="shortest").fingerprint == own.fingerprint
    assert load_encoder(tiny_model, resize="squash").fingerprint != own.fingerprint


def test_an_unknown_mode_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'squash'"):
        load_encoder("no such model", resize="sqash")
