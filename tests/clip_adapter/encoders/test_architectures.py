"""Every architecture open_clip knows can be asked for, and shows the geometry of its pixels."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from fake_hub import cache_on_hub

from clip_adapter.encoders import parse_model_name
from clip_adapter.encoders.preprocessing import preprocessing_of

# One of each kind of image and text tower.
KINDS = {
    "ViT-B-32": (224, 224),
    "RN50": (224, 224),
    "RN50x4": (288, 288),
    "ViT-B-16-plus-240": (240, 240),
    "coca_ViT-B-32": (224, 224),
    "convnext_base": (224, 224),
    "EVA02-B-16": (224, 224),
    "MobileCLIP-S1": (256, 256),
    "ViT-B-16-SigLIP-384": (384, 384),
    "roberta-ViT-B-32": (224, 224),
}
TINY_ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 100,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize("architecture", open_clip.list_models())
def test_an_architecture_is_known_by_its_name(architecture: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    assert parse_model_name(f"{architecture}:{weights}").where == "checkpoint"
    for tag in open_clip.list_pretrained_tags_by_model(architecture):
        assert parse_model_name(f"{architecture}:{tag}").pretrained == tag


@pytest.mark.parametrize("architecture", KINDS)
def test_a_tower_of_each_kind_shows_its_geometry(architecture: str, no_cache: Path) -> None:
    if repository := open_clip.get_model_config(architecture)["text_cfg"].get("hf_model_name"):
        pytest.importorskip("transformers", reason=f"{architecture} needs the extra hf")
        cache_on_hub(repository, no_cache, file="config.json", content=json.dumps(TINY_ROBERTA))
    with torch.device("meta"):  # no weights, no time
        model = open_clip.create_model(architecture, device="meta", pretrained_hf=False)
    geometry = preprocessing_of(model).geometry
    assert geometry.size == KINDS[architecture]
    assert geometry.resize_mode in {"shortest", "squash"}
