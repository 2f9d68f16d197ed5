"""The two towers on disk: a configuration that open_clip reads, and half-precision weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "weights.safetensors"
GLYPHS_FOLDER = Path(__file__).parents[2] / "clip_adapter" / "encoders" / "glyphs"


def read_config() -> dict[str, Any]:
    """The architecture of the built-in encoder, as open_clip's keyword arguments."""
    config: dict[str, Any] = json.loads((GLYPHS_FOLDER / CONFIG_FILE).read_text())["model_cfg"]
    return config


def new_towers(config: dict[str, Any], *, seed: int) -> open_clip.CLIP:
    """An untrained model of that configuration; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config)
    # Convolutions on the CPU run a third faster with the channels innermost.
    model.visual.to(memory_format=torch.channels_last)
    return model


def save_towers(model: open_clip.CLIP, folder: Path) -> Path:
    """Write weights (float16, where they are floats) and configuration; returns the weights' path.

    Half precision halves the file, which is mostly the 49,408 rows of the token embedding;
    open_clip widens it again on loading.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: _halve(value) for name, value in model.state_dict().items()}
    partial = folder / f"{WEIGHTS_FILE}.partial"
    partial.write_bytes(save(weights, metadata={"format": "pt"}))
    if folder.resolve() != GLYPHS_FOLDER.resolve():
        shutil.copy(GLYPHS_FOLDER / CONFIG_FILE, folder / CONFIG_FILE)
    return partial.replace(folder / WEIGHTS_FILE)


def load_towers(folder: Path) -> open_clip.CLIP:
    """The model in a folder as anyone else gets it, through open_clip."""
    return open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()


def _halve(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().contiguous()
    return value.half() if value.is_floating_point() else value
