"""The sizes that the configuration of a model names, bounded before anything is allocated."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clip_adapter.encoders.names import LOCAL_DIR, ModelName
from clip_adapter.errors import EncoderError

MOST_LAYERS, LARGEST_IMAGE, LARGEST_SIZE, LARGEST_RATIO = 1_000, 8_192, 100_000_000, 1_000
ALWAYS_ALLOWED = 100_000_000
"""Number of parameters up to which weights that are too few are left to the reader of the file."""
UNKNOWN_MEMORY = 64 * 2**30
"""Bytes of memory that are assumed where the system does not tell."""
_SIZES_IN_PAIRS = {"layers", "patch_size", "image_size"}
_SIZES = (
    "width", "layers", "heads", "head_width", "patch_size", "image_size", "context_length",
    "vocab_size", "attn_pooler_queries", "attn_pooler_heads",
)  # fmt: skip


def section_of(config: Any, name: str) -> dict[str, Any]:
    """The section of a configuration, as `text_cfg`; empty where there is none."""
    section = config.get(name) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}


def check_sizes(model: ModelName, config: Any) -> None:
    """Refuse sizes that are none, and towers that fit neither the weights nor the memory.

    Args:
        model: the model; the files in its folder are measured, not read.
        config: open_clip's configuration of it, of any form.

    Raises:
        EncoderError: naming the size, what was found and what was expected.
    """
    towers = {
        name: section_of(config, name) for name in ("vision_cfg", "text_cfg", "multimodal_cfg")
    }
    problem = next(_impossible(config, towers), "")
    if not problem and towers["vision_cfg"] and towers["text_cfg"]:
        n_parameters, weights = _least_parameters(config, towers), _weights_bytes(model)
        if 4 * n_parameters > (memory := _memory_bytes()):
            problem = (
                f"its configuration describes at least {n_parameters:.2g} parameters, which take "
                f"{4 * n_parameters / 2**30:,.0f} GiB; this machine has {memory / 2**30:,.0f} GiB"
            )
        elif weights is not None and n_parameters > max(weights, ALWAYS_ALLOWED):
            problem = (
                f"its configuration describes at least {n_parameters:.2g} parameters; its weights "
                f"have {weights:,} bytes: they are cut off or belong to another model"
            )
    if problem:
        raise EncoderError(f"model {model.name!r} could not be loaded: {problem}")


def _impossible(config: Any, towers: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """What is wrong with single numbers of a configuration."""
    sized = [("embed_dim", config.get("embed_dim"))] if isinstance(config, dict) else []
    for tower, section in towers.items():
        sized += [(f"{tower}.{name}", section.get(name)) for name in _SIZES]
        ratio = section.get("mlp_ratio", 4.0)
        if type(ratio) not in {int, float} or not 0 < ratio <= LARGEST_RATIO:
            yield f"{tower}.mlp_ratio is {_shown(ratio)}; expected a number above 0, at most {LARGEST_RATIO:,}"
    for name, value in sized:
        kind = name.rpartition(".")[2]
        most = {"layers": MOST_LAYERS, "image_size": LARGEST_IMAGE}.get(kind, LARGEST_SIZE)
        for each in (
            value if kind in _SIZES_IN_PAIRS and isinstance(value, list) and value else [value]
        ):
            if each is not None and (type(each) is not int or each < 1):
                yield f"{name} is {_shown(each)}; expected a whole number of 1 or more"
            elif each is not None and each > most:
                yield f"{name} is {_shown(each)}; expected at most {most:,}"
    for tower, section in towers.items():
        width, heads = section.get("width"), section.get("heads")
        if tower == "vision_cfg":
            head_width = section.get("head_width") or 64
            resnet = isinstance(section.get("layers"), list)
            heads = width // head_width if type(width) is int and not resnet else None
        if width is not None and heads is not None and (not heads or width % heads):
            yield f"{tower}.width is {_shown(width)}, which its {heads} heads do not divide"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _least_parameters(config: dict[str, Any], towers: Mapping[str, dict[str, Any]]) -> int:
    """Number of parameters in matrices whose sizes the configuration names, and of text masks."""
    vision, text, multimodal = towers.values()
    n_parameters = 0
    if not vision.get("timm_model_name"):
        n_parameters += _of_image_tower(vision, config.get("embed_dim") or 1)
    if not text.get("hf_model_name"):
        width, context = text.get("width") or 512, text.get("context_length") or 77
        n_parameters += _of_layers(text, width) + (text.get("vocab_size") or 49_408) * width
        n_parameters += context * (width + context) + width * (config.get("embed_dim") or 1)
    if multimodal:
        width, context = multimodal.get("width") or 512, multimodal.get("context_length") or 77
        n_parameters += _of_layers(multimodal, width) + context * context
    return n_parameters


def _of_image_tower(vision: dict[str, Any], embed_dim: int) -> int:
    width, layers = vision.get("width") or 768, vision.get("layers") or 12
    if isinstance(layers, list):  # a ResNet: 17 w^2 in a bottleneck, w twice as large in each stage
        stages = sum(
            17 * (n_blocks or 0) * (width << 2 * at) * width
            for at, n_blocks in enumerate(layers[:8])
        )
        return stages + 3 * (32 * width) ** 2
    patch, image = (
        _least(vision.get(name), usual) for name, usual in (("patch_size", 16), ("image_size", 224))
    )
    n_parameters = _of_layers(vision, width) + width * (3 * patch**2 + (image // patch) ** 2)
    if vision.get("attentional_pool"):
        return n_parameters + embed_dim * (vision.get("attn_pooler_queries") or 256)
    return n_parameters + width * embed_dim


def _of_layers(tower: dict[str, Any], width: int) -> int:
    layers = tower.get("layers") or 12
    n_layers = sum(each or 0 for each in layers) if isinstance(layers, list) else layers
    return int(n_layers * width * (4 * width + 2 * int(width * tower.get("mlp_ratio", 4.0))))


def _least(size: Any, usual: int) -> int:
    """The smaller side, where a size has two."""
    sides = [side for side in (size if isinstance(size, list) else [size]) if side]
    return min(sides, default=usual)


def _weights_bytes(model: ModelName) -> int | None:
    """Size of the weights beside a configuration in a folder, the largest of several."""
    if model.where != "folder":
        return None
    folder = Path(model.architecture.removeprefix(LOCAL_DIR))
    files = [file for file in folder.iterdir() if file.suffix in {".safetensors", ".bin", ".pth"}]
    return max((file.stat().st_size for file in files), default=None)


def _memory_bytes() -> int:
    """Memory of this machine."""
    with suppress(AttributeError, ValueError, OSError):  # Windows, or an exotic system
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return UNKNOWN_MEMORY
