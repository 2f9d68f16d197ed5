"""CLIP and SigLIP as Hugging Face's transformers saves them, in open_clip's terms."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from clip_adapter.encoders.names import TRANSFORMERS_CONFIG, TRANSFORMERS_WEIGHTS
from clip_adapter.errors import EncoderError

"""Names of transformers' weight files, in the order in which it looks for them."""

# transformers' key, or its beginning, and open_clip's.
_CLIP = {
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_model.final_layer_norm.": "ln_final.",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "visual_projection.weight": "visual.proj",
}
_SIGLIP = {
    "text_model.embeddings.token_embedding.": "text.token_embedding.",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.encoder.layers.": "text.transformer.resblocks.",
    "text_model.final_layer_norm.": "text.ln_final.",
    "text_model.head.": "text.text_projection.",
    "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.encoder.layers.": "visual.trunk.blocks.",
    "vision_model.post_layernorm.": "visual.trunk.norm.",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
    "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
    "vision_model.head.mlp.": "visual.trunk.attn_pool.mlp.",
}
# A block of open_clip's transformer, and one of timm's.
_BLOCK = {
    "self_attn.qkv.": "attn.in_proj_",
    "self_attn.out_proj.": "attn.out_proj.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}
_TIMM_BLOCK = {
    "self_attn.qkv.": "attn.qkv.",
    "self_attn.out_proj.": "attn.proj.",
    "layer_norm1.": "norm1.",
    "layer_norm2.": "norm2.",
}
_TRANSPOSED = ("text_projection", "visual.proj")  # matrices in open_clip's CLIP, layers in HF's


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of transformers' CLIP or SigLIP."""
    return any(key.startswith(("text_model.", "vision_model.")) for key in state)


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under open_clip's keys, with query, key and value as one matrix.

    A key that transformers' CLIPModel and SiglipModel do not have stays, so that loading names it.

    Args:
        state: state dict of one of the two.

    Raises:
        EncoderError: the image tower is SigLIP 2's NaFlex, which reads images of any shape.
    """
    siglip = any(key.startswith("vision_model.head.") for key in state)
    patches = state.get("vision_model.embeddings.patch_embedding.weight")
    if patches is not None and patches.ndim == 2:
        raise EncoderError(
            "its image tower is SigLIP 2's NaFlex, which open_clip does not have; expected one of "
            "a fixed image size, as google/siglip2-base-patch16-224"
        )
    return dict(_renamed(_joined(state), siglip=siglip))


def _joined(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in state.items():
        stem, found, kind = key.partition(".self_attn.q_proj.")
        parts = [state.get(f"{stem}.self_attn.{part}_proj.{kind}") for part in "qkv"]
        if found and all(part is not None for part in parts):
            yield (
                f"{stem}.self_attn.qkv.{kind}",
                torch.cat([part for part in parts if part is not None]),
            )
        elif not _is_joined(key, state) and not key.endswith(".position_ids"):
            yield key, tensor


def _is_joined(key: str, state: Mapping[str, Tensor]) -> bool:
    """Whether this is a part of a matrix that `_joined` yields with its query."""
    for part in (".self_attn.k_proj.", ".self_attn.v_proj."):
        stem, found, kind = key.partition(part)
        if found:
            return all(f"{stem}.self_attn.{each}_proj.{kind}" in state for each in "qkv")
    return False


def _renamed(state: Iterator[tuple[str, Tensor]], *, siglip: bool) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in state:
        name = _name(key, siglip=siglip)
        if siglip and key.startswith("vision_model.head.attention.in_proj_"):
            kind, width = key.rpartition("_")[2], len(tensor) // 3
            yield f"visual.trunk.attn_pool.q.{kind}", tensor[:width]
            yield f"visual.trunk.attn_pool.kv.{kind}", tensor[width:]
        elif not siglip and name in _TRANSPOSED:
            yield name, tensor.T
        else:
            yield name, tensor[None] if name == "visual.trunk.pos_embed" else tensor


def _name(key: str, *, siglip: bool) -> str:
    for prefix, ours in (_SIGLIP if siglip else _CLIP).items():
        if key.startswith(prefix):
            rest = key.removeprefix(prefix)
            if ".layers." not in prefix:
                return ours + rest
            number, _, part = rest.partition(".")
            blocks = _TIMM_BLOCK if ".trunk." in ours else _BLOCK
            for theirs, here in blocks.items():
                part = here + part.removeprefix(theirs) if part.startswith(theirs) else part
            return f"{ours}{number}.{part}"
    return key


def read_config(folder: Path) -> dict[str, Any] | None:
    """Transformers' configuration of a CLIP or SigLIP in a folder; None if there is none.

    Raises:
        EncoderError: the configuration is no JSON object.
    """
    path = folder / TRANSFORMERS_CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{path} is no JSON: {error}") from error
    known = isinstance(config, dict) and config.get("model_type") in {"clip", "siglip"}
    return config if known else None


def weights_file(folder: Path) -> Path:
    """The file of weights beside transformers' configuration.

    Raises:
        EncoderError: there is none, or the weights are spread over several.
    """
    for name in TRANSFORMERS_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise EncoderError(
                f"the weights in {folder} are spread over several files: save them as one with "
                "save_pretrained(FOLDER, max_shard_size='100GB')"
            )
    raise EncoderError(f"no weights in {folder}; expected {' or '.join(TRANSFORMERS_WEIGHTS)}")


def clip_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's `model_cfg` of transformers' CLIPConfig.

    Args:
        config: content of `config.json`; what it leaves out has transformers' default.

    Raises:
        EncoderError: open_clip's CLIP has no such activation function, or the towers differ in it.
    """
    text = {**_TEXT_DEFAULTS, **_tower(config, "text")}
    vision = {**_VISION_DEFAULTS, **_tower(config, "vision")}
    activations = {text["hidden_act"], vision["hidden_act"]}
    if activations not in ({"quick_gelu"}, {"gelu"}):
        raise EncoderError(
            f"its {TRANSFORMERS_CONFIG} says hidden_act {' and '.join(sorted(activations))}; "
            "expected quick_gelu or gelu in both towers"
        )
    return {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "patch_size": vision["patch_size"],
            "mlp_ratio": _mlp_ratio(vision),
            **_epsilon(vision),
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
            "mlp_ratio": _mlp_ratio(text),
            **_epsilon(text),
        },
    }


# transformers writes only what differs from these into older configurations.
_TEXT_DEFAULTS = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_VISION_DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def _tower(config: Mapping[str, Any], tower: str) -> dict[str, Any]:
    """The part of a tower; what older files hold as `text_config_dict` has precedence."""
    parts = (config.get(f"{tower}_config"), config.get(f"{tower}_config_dict"))
    return {name: value for part in parts for name, value in (part or {}).items()}


def _mlp_ratio(tower: Mapping[str, Any]) -> float:
    """The ratio from which open_clip computes the width by `int(width * ratio)`."""
    ratio: float = tower["intermediate_size"] / tower["hidden_size"]
    rounded_down = int(tower["hidden_size"] * ratio) < tower["intermediate_size"]
    return math.nextafter(ratio, math.inf) if rounded_down else ratio


def _epsilon(tower: Mapping[str, Any]) -> dict[str, Any]:
    epsilon = tower["layer_norm_eps"]
    return {} if epsilon == 1e-5 else {"norm_kwargs": {"eps": epsilon}}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Fields in which two of open_clip's configurations of a CLIP differ, as `text_cfg.heads`.

    Defaults that one of them leaves out do not differ.
    """
    left, right = _filled(one), _filled(other)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def _filled(config: Mapping[str, Any]) -> dict[str, Any]:
    towers = {
        "vision_cfg": asdict(CLIPVisionCfg(**config["vision_cfg"])),
        "text_cfg": asdict(CLIPTextCfg(**config["text_cfg"])),
    }
    for tower in towers.values():  # ratios that make the same width are equal
        tower["mlp_ratio"] = int(tower["width"] * tower["mlp_ratio"])
    return {
        "embed_dim": config["embed_dim"],
        "quick_gelu": config.get("quick_gelu", False),
        "custom_text": config.get("custom_text", False),
        **{
            f"{part}.{name}": value
            for part, tower in towers.items()
            for name, value in tower.items()
        },
    }


def known_clip(config: Mapping[str, Any]) -> str | None:
    """The first of open_clip's architectures with this configuration, if there is one."""
    names: list[str] = open_clip.list_models()
    return next(
        (name for name in names if not differences(open_clip.get_model_config(name), config)), None
    )


def activation_form(architecture: str, config: Mapping[str, Any]) -> str:
    """The form of an architecture, with or without QuickGELU, that transformers' config describes.

    Args:
        architecture: one of open_clip's architectures, in either form.
        config: content of `config.json` beside the weights.

    Raises:
        EncoderError: the configuration describes neither form; so its features would be others.
    """
    wanted = clip_config(config)
    found = differences(open_clip.get_model_config(architecture), wanted)
    if not found:
        return architecture
    plain = architecture.removesuffix("-quickgelu")
    other = f"{plain}-quickgelu" if architecture == plain else plain
    if other in open_clip.list_models() and not differences(
        open_clip.get_model_config(other), wanted
    ):
        return other
    raise EncoderError(
        f"the {TRANSFORMERS_CONFIG} beside it describes another model than {architecture}: "
        f"{', '.join(found[:6])} differ; write local-dir:FOLDER to build what it describes"
    )


def check_vocabulary(folder: Path) -> None:
    """Refuse a vocabulary other than CLIP's, of which open_clip's tokenizer knows nothing.

    Raises:
        EncoderError: a vocabulary lies in the folder, and numbers another word differently.
    """
    found = _vocabulary(folder)
    if found is None:
        return
    own = open_clip.SimpleTokenizer().encoder
    words = {word: number for word, number in own.items() if number < len(own) - 2}
    odd = next((word for word, number in words.items() if found.get(word) != number), None)
    if odd is not None:
        raise EncoderError(
            f"the vocabulary in {folder} is not CLIP's (token {odd!r} is {found.get(odd)}, expected "
            f"{words[odd]}), and no other is read with transformers' weights"
        )


def _vocabulary(folder: Path) -> dict[str, int] | None:
    for name in ("vocab.json", "tokenizer.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            words: dict[str, int] = content if name == "vocab.json" else content["model"]["vocab"]
            return words
    return None


_SIGLIP_DEFAULTS = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}


def siglip_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of transformers' SiglipConfig by the names of open_clip's `model_cfg`.

    Those that the shapes of the weights do not show are `image_size` and the numbers of heads.

    Raises:
        EncoderError: a tower has another activation function or epsilon than open_clip's SigLIPs.
    """
    text, vision = _tower(config, "text"), _tower(config, "vision")
    for tower in (text, vision):
        found = {name: tower.get(name, usual) for name, usual in _SIGLIP_DEFAULTS.items()}
        if found != _SIGLIP_DEFAULTS:
            raise EncoderError(
                f"its {TRANSFORMERS_CONFIG} says {found}; open_clip's SigLIPs have {_SIGLIP_DEFAULTS}"
            )
    return {
        "image_size": vision.get("image_size", 224),
        "vision_heads": vision.get("num_attention_heads", 12),
        "text_heads": text.get("num_attention_heads", 12),
    }


def fits_siglip(model: Any, sizes: Mapping[str, Any]) -> bool:
    """Whether a model of open_clip has a SigLIP's image size and numbers of heads."""
    trunk = getattr(model.visual, "trunk", None)
    blocks = getattr(trunk, "blocks", None)
    if blocks is None:
        return False
    size = model.visual.image_size
    return bool(
        (size if isinstance(size, int) else size[0]) == sizes["image_size"]
        and blocks[0].attn.num_heads == sizes["vision_heads"]
        and model.text.transformer.resblocks[0].attn.num_heads == sizes["text_heads"]
    )


def gelu_notes(model: Any) -> tuple[str, ...]:
    """A sentence if a tower computes the exact GELU where transformers' SigLIP approximates it."""
    activations = [
        *(block.mlp.act for block in model.visual.trunk.blocks),
        *(block.mlp.gelu for block in model.text.transformer.resblocks),
    ]
    exact = any(
        type(each).__name__ == "GELU" and getattr(each, "approximate", "none") == "none"
        for each in activations
    )
    note = (
        "open_clip computes GELU exactly in this architecture, for its published tags too, where "
        "transformers approximates it by tanh: features differ from transformers' by about 0.001"
    )
    return (note,) if exact else ()
