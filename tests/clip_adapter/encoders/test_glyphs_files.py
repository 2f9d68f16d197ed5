"""The built-in encoder as it is shipped: it loads as any open_clip model, is small, and sees."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import clip_adapter.encoders

FOLDER = Path(clip_adapter.encoders.__file__).parent / "glyphs"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Towers(NamedTuple):
    model: Any
    preprocess: Any
    tokenizer: Any


@pytest.fixture(scope="module")
def towers() -> Towers:
    model, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{FOLDER}", require_pretrained=True, weights_only=True
    )
    return Towers(model.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{FOLDER}"))


@pytest.fixture(scope="module")
def digits_features(towers: Towers) -> torch.Tensor:
    pages = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    pictures = torch.stack(
        [towers.preprocess(Image.fromarray(page).convert("RGB")) for page in pages]
    )
    with torch.no_grad():
        return torch.cat([towers.model.encode_image(part) for part in pictures.split(256)])


def test_the_weights_take_at_most_eight_million_bytes() -> None:
    assert (FOLDER / "weights.safetensors").stat().st_size <= 8_000_000


def test_the_folder_holds_a_card_and_one_file_of_weights() -> None:
    names = sorted(path.name for path in FOLDER.iterdir())
    assert names == ["MODEL_CARD.md", "open_clip_config.json", "weights.safetensors"]


def test_the_preprocessing_is_the_one_of_the_configuration(towers: Towers) -> None:
    config = json.loads((FOLDER / "open_clip_config.json").read_text())
    loaded = open_clip.get_model_preprocess_cfg(towers.model)
    assert {name: loaded[name] for name in ("mean", "std")} == {
        name: config["preprocess_cfg"][name] for name in ("mean", "std")
    }


def test_zero_shot_reads_at_least_six_in_ten_handwritten_digits(
    towers: Towers, digits_features: torch.Tensor
) -> None:
    with torch.no_grad():
        prompts = towers.tokenizer([f"a picture of the digit {word}." for word in WORDS])
        prototypes = towers.model.encode_text(prompts, normalize=True)
    predicted = (digits_features @ prototypes.T).argmax(dim=1).numpy()
    assert np.mean(predicted == load_digits().target) >= 0.60


def test_words_it_was_never_taught_still_get_features_of_their_own(towers: Towers) -> None:
    with torch.no_grad():
        features = towers.model.encode_text(
            towers.tokenizer(["a forest.", "a river."]), normalize=True
        )
    # Equal prototypes would leave an adapter nothing to learn from.
    assert features[0] @ features[1] < 0.999
