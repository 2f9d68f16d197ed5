"""Which text towers can be entered is known from the configuration, before anything is loaded."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch

from clip_adapter.encoders import (
    Encoder,
    EncoderError,
    check_learns_prompts,
    load_encoder,
    model_config,
    text_tower,
)
from clip_adapter.errors import UnknownNameError

NOT_ENTERED = {
    "ViT-B-16-SigLIP": "read off at 'last' as SigLIP's",
    "ViT-B-16-SigLIP2": "read off at 'last' as SigLIP's",
    "ViT-L-14-CLIPA": "read off at 'last' as SigLIP's",
    "coca_ViT-B-32": "that of a CoCa",
    "roberta-ViT-B-32": "roberta-base of Hugging Face",
    "nllb-clip-base-siglip": "facebook/nllb-200-distilled-600M of Hugging Face",
}


@pytest.fixture(name="glyphs", scope="module")
def _glyphs() -> Encoder:
    return load_encoder("glyphs")


def is_refused(config: dict[str, Any]) -> bool:
    try:
        check_learns_prompts(config, model="a model")
    except EncoderError:
        return True
    return False


@pytest.mark.parametrize("architecture", NOT_ENTERED)
def test_a_tower_that_cannot_be_entered_is_described_in_one_line(architecture: str) -> None:
    config = open_clip.get_model_config(architecture)
    with pytest.raises(EncoderError, match=NOT_ENTERED[architecture]) as refused:
        check_learns_prompts(config, model=f"{architecture}:tag")
    message = str(refused.value)
    assert message.startswith(f"prompts cannot be learned for {architecture}:tag: its text tower")
    assert "ViT-B-32-quickgelu:openai" in message
    assert "\n" not in message


def test_the_configuration_says_what_the_loaded_tower_says(glyphs: Encoder) -> None:
    disagreeing = []
    for architecture in open_clip.list_models():
        config = open_clip.get_model_config(architecture)
        text = config["text_cfg"]
        if text.get("hf_model_name"):
            assert is_refused(config)
            continue
        with torch.device("meta"):  # no weights, no time
            parts = open_clip.model._build_text_tower(config["embed_dim"], text | {"layers": 1})
        encoder = replace(glyphs, name=architecture, model=SimpleNamespace(text=parts))
        try:
            text_tower(encoder)
            refused = False
        except EncoderError:
            refused = True
        if refused != is_refused(config):
            disagreeing.append(architecture)
    assert disagreeing == []


@pytest.mark.parametrize("config", [{}, {"text_cfg": None}, {"text_cfg": {"width": 8}}])
def test_a_configuration_that_says_nothing_is_left_to_the_loader(config: dict[str, Any]) -> None:
    check_learns_prompts(config, model="a model")


def test_a_configuration_is_read_wherever_the_model_is(
    tiny_model: str, tiny_sigmoid_model: str
) -> None:
    assert model_config(tiny_model)["embed_dim"] == 16
    assert model_config(tiny_sigmoid_model)["init_logit_bias"] == -10
    assert model_config("ViT-B-16-SigLIP:webli")["text_cfg"]["pool_type"] == "last"
    with pytest.raises(UnknownNameError, match="did you mean"):
        model_config("ViT-B-32:openia")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_cfg": []}'])
def test_a_configuration_that_cannot_be_read_is_left_to_the_loader(
    tiny_folder: Path, content: str
) -> None:
    (tiny_folder / "open_clip_config.json").write_text(content)
    assert model_config(f"local-dir:{tiny_folder}") == {}
