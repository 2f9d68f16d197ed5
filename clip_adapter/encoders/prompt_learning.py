"""Whether prompts can be learned through the text tower of a model, by its configuration alone."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clip_adapter.encoders.names import (
    CONFIG_FILE,
    LOCAL_DIR,
    TRANSFORMERS_CONFIG,
    parse_model_name,
)
from clip_adapter.errors import EncoderError

POOL_TYPES = ("argmax", "eos")
"""Tokens at which a tower can be read off when its embeddings are learned: the end of the text."""


def model_config(name: str) -> dict[str, Any]:
    """open_clip's configuration of a model, without its weights; empty where it cannot be read.

    Args:
        name: name in one of the forms of `parse_model_name`.

    Raises:
        UnknownNameError: there is no such architecture or tag.
        EncoderError: a folder or checkpoint is missing.
    """
    import open_clip

    architecture = parse_model_name(name).architecture
    folder = Path(architecture.removeprefix(LOCAL_DIR))
    if architecture.startswith(LOCAL_DIR) and not (folder / CONFIG_FILE).is_file():
        return _of_transformers(folder)
    try:
        config = open_clip.get_model_config(architecture)
    except (OSError, ValueError, AttributeError):  # of a file that is gone, or holds something else
        return {}  # loading the model raises the error that says what is wrong
    return config if isinstance(config, dict) else {}


def _of_transformers(folder: Path) -> dict[str, Any]:
    """What matters of a folder of transformers: whether it is a SigLIP, read off at the last token."""
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        config = json.loads((folder / TRANSFORMERS_CONFIG).read_text(encoding="utf-8"))
        if config.get("model_type") == "siglip":
            return {"text_cfg": {"pool_type": "last"}}
    return {}


def check_learns_prompts(config: Mapping[str, Any], *, model: str) -> None:
    """Return if prompts can be learned through the text tower of a model.

    Args:
        config: open_clip's configuration of the model; an empty one is not refused.
        model: name of the model, for the error.

    Raises:
        EncoderError: the text tower cannot be entered at its token embeddings; the message says why,
            and which towers can.
    """
    text = config.get("text_cfg")
    text = text if isinstance(text, dict) else {}
    pool_type = text.get("pool_type", "argmax")
    if text.get("hf_model_name"):
        raise tower_error(model, f"{text['hf_model_name']} of Hugging Face")
    if text.get("embed_cls"):
        raise tower_error(model, "that of a CoCa, read off at a class token of its own")
    if pool_type not in POOL_TYPES:
        raise tower_error(model, f"read off at {pool_type!r} as SigLIP's and CLIPA's are")


def tower_error(model: str, tower: str) -> EncoderError:
    """The error for a text tower that cannot be entered.

    Args:
        model: name of the model.
        tower: what the tower is instead.
    """
    return EncoderError(
        f"prompts cannot be learned for {model}: its text tower, {tower}, cannot be entered at its "
        "token embeddings; expected open_clip's text transformer, read off at the end of the text, "
        "as the models of OpenAI, LAION, DFN, MetaCLIP, EVA, MobileCLIP and PE-Core have it: choose "
        "such a model, as ViT-B-32-quickgelu:openai, or leave out the methods that learn prompts"
    )
