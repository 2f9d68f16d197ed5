"""Models with random weights: as fast as trained ones, and there without a network."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn

VIT_B_32 = "ViT-B-32"


def save_vit_b_32(folder: Path) -> Path:
    """The weights of a ViT-B-32 that has learnt nothing, as one safetensors file."""
    return _save(open_clip.create_model(VIT_B_32), folder / "vit-b-32.safetensors")


def save_tiny_clip(folder: Path, *, pixels: int, width: int = 16) -> str:
    """The name of a CLIP that takes no time itself, with pictures and features of this size."""
    text = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    return _save_clip(folder, pixels=pixels, width=width, text=text)


def save_clip_of_text(folder: Path) -> str:
    """The name of a CLIP with the text tower of ViT-B-32, and no image tower worth the name."""
    config = open_clip.get_model_config(VIT_B_32)
    return _save_clip(folder, pixels=16, width=config["embed_dim"], text=config["text_cfg"])


def _save_clip(folder: Path, *, pixels: int, width: int, text: dict[str, Any]) -> str:
    config: dict[str, Any] = {
        "embed_dim": width,
        "vision_cfg": {
            "image_size": pixels,
            "patch_size": max(8, pixels // 2),
            "width": 16,
            "layers": 1,
            "head_width": 8,
        },
        "text_cfg": text,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _save(open_clip.model.CLIP(**config), folder / "open_clip_model.safetensors")
    preprocessing = {"size": pixels, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "shortest"}
    described = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return f"local-dir:{folder}"


def _save(model: nn.Module, path: Path) -> Path:
    weights: dict[str, torch.Tensor] = model.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path
