"""Names of models: their forms, and whether such a model exists."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clip_adapter.errors import EncoderError, UnknownNameError

Precision = Literal["fp32", "bf16", "fp16"]


BUILT_IN = "glyphs"
"""A small encoder in this package that has seen printed characters only."""
DEFAULT_MODEL = "ViT-B-32-quickgelu:openai"
"""The model of a dataset of images other than `digits`, if a request names none."""
GLYPHS_FOLDER = Path(__file__).parent / "glyphs"
CONFIG_FILE = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
TRANSFORMERS_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LOCAL_DIR, HF_HUB = "local-dir:", "hf-hub:"

Where = Literal["folder", "hub", "tag", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A parsed name of a model.

    Attributes:
        name: name as the user spelled it.
        architecture: open_clip's `model_name`, with its schema if it has one.
        pretrained: open_clip's `pretrained`, a tag or a path; None where the schema suffices.
        where: place of the weights.
    """

    name: str
    architecture: str
    pretrained: str | None
    where: Where


def parse_model_name(name: str) -> ModelName:
    """Parse the name of a model and check that the model is known.

    The forms: `glyphs` (built in), `ARCHITECTURE:TAG` (as `ViT-B-32:openai`),
    `ARCHITECTURE:PATH` of a local checkpoint, `hf-hub:ORG/REPO`, `local-dir:FOLDER` as open_clip
    saves it, or transformers a CLIP or SigLIP.

    Raises:
        UnknownNameError: open_clip has no such architecture or tag; the message suggests the nearest.
        EncoderError: a folder or checkpoint is missing, an architecture has no tag, or the built-in
            model has one.
    """
    if name == BUILT_IN:
        return _local_folder(name, GLYPHS_FOLDER)
    if name.startswith(LOCAL_DIR):
        return _local_folder(name, Path(name.removeprefix(LOCAL_DIR)).expanduser())
    if name.startswith(HF_HUB):
        return _hub_repository(name)
    architecture, colon, pretrained = name.partition(":")
    if colon and architecture == BUILT_IN:
        raise EncoderError(
            f"model {name!r}: the built-in model has one set of weights: {BUILT_IN!r}"
        )
    return _registered(name, architecture, pretrained)


def _local_folder(name: str, folder: Path) -> ModelName:
    by_open_clip = (folder / CONFIG_FILE).is_file()
    if not by_open_clip and not (folder / TRANSFORMERS_CONFIG).is_file():
        message = (
            f"model {name!r}: no {CONFIG_FILE} in {folder}; expected a folder with that file and "
            "one .safetensors file of weights, as open_clip saves them, or with transformers' "
            f"{TRANSFORMERS_CONFIG} and weights"
        )
        raise EncoderError(message)
    if by_open_clip and not any(folder.glob("*.safetensors")):
        message = f"model {name!r}: no .safetensors file of weights in {folder}"
        raise EncoderError(message)
    return ModelName(
        name=name, architecture=f"{LOCAL_DIR}{folder}", pretrained=None, where="folder"
    )


def _hub_repository(name: str) -> ModelName:
    repository = name.removeprefix(HF_HUB)
    if repository.count("/") != 1 or not all(repository.split("/")):
        message = f"model {name!r}: expected hf-hub:ORGANISATION/REPOSITORY"
        raise EncoderError(message)
    return ModelName(name=name, architecture=name, pretrained=None, where="hub")


def _registered(name: str, architecture: str, pretrained: str) -> ModelName:
    import open_clip

    known = open_clip.list_models()
    if architecture not in known:
        raise UnknownNameError("model", architecture, [BUILT_IN, *known])
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not pretrained:
        example = f"{architecture}:{tags[0] if tags else 'PATH.safetensors'}"
        listed = f"; tags: {', '.join(tags)}" if tags else ""
        message = f"model {name!r} names no weights: write for example {example!r}{listed}"
        raise EncoderError(message)
    if pretrained in tags:
        return ModelName(name=name, architecture=architecture, pretrained=pretrained, where="tag")
    return _checkpoint(name, architecture, pretrained, tags)


def _checkpoint(name: str, architecture: str, pretrained: str, tags: list[str]) -> ModelName:
    path = Path(pretrained).expanduser()
    if path.is_file():
        return ModelName(
            name=name, architecture=architecture, pretrained=str(path), where="checkpoint"
        )
    if path.suffix or "/" in pretrained:
        message = f"model {name!r}: there is no checkpoint at {path}"
        raise EncoderError(message)
    raise UnknownNameError(f"weights of {architecture}", pretrained, tags)
