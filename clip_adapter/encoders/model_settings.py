"""What the weights of a model do not contain: its preprocessing and its activation function.

Both change every feature, and neither can be seen in a state dict. They are taken from where they are
known, never assumed in silence.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clip_adapter.encoders.fingerprint import canonical_json
from clip_adapter.encoders.names import (
    CONFIG_FILE,
    HF_HUB,
    LOCAL_DIR,
    TRANSFORMERS_CONFIG,
    TRANSFORMERS_WEIGHTS,
    ModelName,
)
from clip_adapter.encoders.published import digest_file, published_as, uses_quick_gelu
from clip_adapter.errors import ClipAdapterError, EncoderError, UnknownNameError

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files of transformers that describe a preprocessing; the second is newer and holds it nested."""

_QUICK = "-quickgelu"
_MAY_DIFFER = {"quick_gelu", "vision_cfg.timm_model_pretrained", "text_cfg.hf_model_pretrained"}
_FIELDS = ("resize_mode", "interpolation", "mean", "std", "fill_color")
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers of its filters

_DEFAULTS_OF_TYPES = {"clip": ("ViT-B-32", "openai"), "siglip": ("ViT-B-16-SigLIP", "webli")}
"""Tags with the preprocessing of transformers' CLIPImageProcessor and SiglipImageProcessor."""

Preprocess = dict[str, Any]
Taken = tuple[Preprocess, str]
"""A preprocessing, and where it was taken from."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is known of a model beside its weights.

    Attributes:
        model: name of the model, with the architecture whose activation function is right.
        preprocessing: open_clip's preprocessing configuration of the weights without the size, which
            is the architecture's.
        notes: sentences for the user about what was taken from elsewhere or assumed.
    """

    model: ModelName
    preprocessing: Preprocess
    notes: tuple[str, ...] = ()


def find_settings(model: ModelName, *, preprocessing: str | None = None) -> ModelSettings:
    """Find the preprocessing and the activation function that belong to the weights of a model.

    A tag, and a folder or repository of open_clip, have their own. For a checkpoint the preprocessing
    is that of a configuration beside the file, else that of the published file with the same digest,
    else the one that all tags of the architecture share. Without a preprocessing of its own, a folder or
    repository has the one that all tags of the architecture with an equal configuration share.

    Args:
        model: the model; its weights are not loaded, but a checkpoint is digested.
        preprocessing: TAG, one of the architecture, or ARCHITECTURE:TAG, whose preprocessing to use.

    Raises:
        UnknownNameError: open_clip has no such tag.
        EncoderError: the preprocessing is not known, and the message lists the choices; or one is given
            for a model that has its own; or a configuration beside the weights cannot be used.
    """
    try:
        if model.where == "tag":
            return _of_tag(model, preprocessing)
        if model.where == "checkpoint":
            return _of_checkpoint(model, preprocessing)
        return _of_folder(model, preprocessing)
    except ClipAdapterError:
        raise
    # A configuration of another form than expected fails in one of these ways.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise EncoderError(
            f"model {model.name!r} could not be loaded: a configuration is malformed: {error!r}"
        ) from error


def _of_tag(model: ModelName, preprocessing: str | None) -> ModelSettings:
    import open_clip

    _refuse_choice(model, preprocessing)
    config = open_clip.get_pretrained_cfg(model.architecture, model.pretrained)
    return ModelSettings(model=model, preprocessing=_own(config))


def _of_checkpoint(model: ModelName, preprocessing: str | None) -> ModelSettings:
    import open_clip

    path = Path(str(model.pretrained))
    file = path.parent / CONFIG_FILE
    described = _read_json(file)
    if described.get("model_cfg"):
        _check_described(model, described["model_cfg"], file)
    published = published_as(digest_file(path))
    model, notes = _with_activation(model, published, described.get("model_cfg"))
    taken = _chosen(model, [model.architecture], preprocessing)
    if taken is None and described.get("preprocess_cfg"):
        own = _checked(described["preprocess_cfg"], file)
        taken = own, f"that of {CONFIG_FILE} beside the weights"
    taken = taken or _beside(path.parent, open_clip.get_model_config(model.architecture))
    if taken is None and published:
        own = _own(open_clip.get_pretrained_cfg(*published))
        taken = own, f"that of {':'.join(published)}, whose published file this is"
    if taken is None and not open_clip.list_pretrained_tags_by_model(model.architecture):
        taken = _default_of_type(_read_json(path.parent / TRANSFORMERS_CONFIG))
    config, source = taken or _shared(model, [model.architecture])
    notes += (f"preprocessing: {source}",)
    return ModelSettings(model=model, preprocessing=config, notes=notes)


def _of_folder(model: ModelName, preprocessing: str | None) -> ModelSettings:
    config = _open_clip_config(model)
    if model.where == "folder" and not config:
        return _of_transformers(model, preprocessing)
    if config.get("preprocess_cfg"):
        _refuse_choice(model, preprocessing)
        return ModelSettings(model=model, preprocessing={})  # open_clip reads it as it is
    import open_clip

    described = config.get("model_cfg", {})
    ours = canonical_json(described)
    equal = [
        name
        for name in open_clip.list_models()
        if canonical_json(open_clip.get_model_config(name)) == ours
    ]
    taken = _chosen(model, equal, preprocessing)
    if taken is None and model.where == "folder":
        taken = _beside(Path(model.architecture.removeprefix(LOCAL_DIR)), described)
    found, source = taken or _shared(model, equal)
    return ModelSettings(model=model, preprocessing=found, notes=(f"preprocessing: {source}",))


def _of_transformers(model: ModelName, preprocessing: str | None) -> ModelSettings:
    """The settings of a folder as transformers saves a model."""
    folder = Path(model.architecture.removeprefix(LOCAL_DIR))
    config = _read_json(folder / TRANSFORMERS_CONFIG)
    taken = _chosen(model, [], preprocessing) or _beside(folder, config) or _default_of_type(config)
    if taken is None:
        raise EncoderError(
            f"model {model.name!r} could not be loaded: the {TRANSFORMERS_CONFIG} in {folder} is not "
            "that of a CLIP or SigLIP"
        )
    found, source = taken
    return ModelSettings(model=model, preprocessing=found, notes=(f"preprocessing: {source}",))


def _default_of_type(config: Mapping[str, Any]) -> Taken | None:
    """The preprocessing that transformers itself makes for a type of model, without a file of it."""
    import open_clip

    kind = str(config.get("model_type"))
    if kind not in _DEFAULTS_OF_TYPES:
        return None
    own = _own(open_clip.get_pretrained_cfg(*_DEFAULTS_OF_TYPES[kind]))
    return (
        own,
        f"transformers' default for {kind}, since no {PROCESSOR_FILES[0]} is beside the weights",
    )


# The activation function.


def _with_activation(
    model: ModelName, published: tuple[str, str] | None, model_config: Mapping[str, Any] | None
) -> tuple[ModelName, tuple[str, ...]]:
    """The model with the architecture of the right activation function, and what to say of it."""
    import open_clip

    typed = model.architecture
    if published:
        if published[0] == typed:
            return model, ()
        note = (
            f"the file is {':'.join(published)} as published: loaded as {published[0]}, not {typed}"
        )
        return replace(model, architecture=published[0]), (note,)
    other = typed.removesuffix(_QUICK) if typed.endswith(_QUICK) else typed + _QUICK
    quick, source = _quick_gelu_beside(Path(str(model.pretrained)), model_config)
    if quick is None:
        if other not in open_clip.list_models():
            return model, ()
        note = (
            f"activation function: {_name_of(uses_quick_gelu(typed))} is assumed, as {typed} says; for "
            f"weights trained with {_name_of(uses_quick_gelu(other))} write {other}:{model.pretrained}"
        )
        return model, (note,)
    if quick == uses_quick_gelu(typed):
        return model, ()
    if other not in open_clip.list_models():
        raise EncoderError(
            f"model {model.name!r}: {source} beside it says {_name_of(quick)}, and open_clip has no "
            f"{typed} with it: use local-dir:FOLDER with an {CONFIG_FILE} of the model"
        )
    note = (
        f"activation function: {source} beside the file says {_name_of(quick)}: loaded as {other}"
    )
    return replace(model, architecture=other), (note,)


def _name_of(quick_gelu: object) -> str:
    return "QuickGELU" if quick_gelu else "GELU"


def _quick_gelu_beside(
    path: Path, model_config: Mapping[str, Any] | None
) -> tuple[bool | None, str]:
    """Whether a configuration beside the weights says QuickGELU, and its name; None if there is none.

    That of transformers is about the file that has transformers' name, not about others beside it.
    """
    if model_config:
        return bool(model_config.get("quick_gelu")), CONFIG_FILE
    folder = path.parent
    if path.name not in TRANSFORMERS_WEIGHTS:
        return None, ""
    config = _read_json(folder / TRANSFORMERS_CONFIG)
    if config.get("model_type") != "clip":
        return None, ""
    # What equals the default of transformers, quick_gelu, may be left out.
    functions = {
        str(config.get(tower, {}).get("hidden_act", "quick_gelu"))
        for tower in ("text_config", "vision_config")
    }
    if not functions <= {"gelu", "quick_gelu"} or len(functions) > 1:
        raise EncoderError(
            f"{folder / TRANSFORMERS_CONFIG}: hidden_act is {' and '.join(sorted(functions))}: "
            "expected gelu or quick_gelu in both towers"
        )
    return functions == {"quick_gelu"}, TRANSFORMERS_CONFIG


# The preprocessing.


def _chosen(model: ModelName, architectures: list[str], asked: str | None) -> Taken | None:
    """The preprocessing of the tag that the user named."""
    import open_clip

    if asked is None:
        return None
    everywhere = open_clip.list_pretrained()
    named = {tag: (name, tag) for name, tag in everywhere if name in architectures}
    named |= {f"{name}:{tag}": (name, tag) for name, tag in everywhere}
    if asked not in named:
        raise UnknownNameError(f"preprocessing for {model.name}", asked, named)
    name, tag = named[asked]
    return _own(open_clip.get_pretrained_cfg(name, tag)), f"that of {name}:{tag}, as asked for"


def _shared(model: ModelName, architectures: list[str]) -> Taken:
    """The preprocessing that all tags of the architectures have.

    Raises:
        EncoderError: there is no tag, or they differ; the message lists the choices.
    """
    import open_clip

    tags = [each for each in open_clip.list_pretrained() if each[0] in architectures]
    choices = _distinct(tags)
    if len(choices) == 1:
        return choices[0][0], f"that of all tags of {architectures[0]} in open_clip"
    if tags:
        what = f"open_clip's tags of {architectures[0]} differ in it"
    else:
        what = "open_clip has no tag of this architecture"
        choices = [(config, names[:1]) for config, names in _distinct(open_clip.list_pretrained())]
    lines = [
        f"  {', '.join(tag if tags else f'{architecture}:{tag}' for architecture, tag in names)}: "
        f"{_differing(config, [each for each, _ in choices])}"
        for config, names in choices
    ]
    raise EncoderError(
        f"model {model.name!r}: its preprocessing is not known, since {what} and no file beside the "
        f"weights describes it (preprocess_cfg in {CONFIG_FILE}, or {PROCESSOR_FILES[0]}). Give "
        "--preprocessing TAG with the one that the weights were trained with:\n" + "\n".join(lines)
    )


def _distinct(
    tags: Iterable[tuple[str, str]],
) -> list[tuple[Preprocess, list[tuple[str, str]]]]:
    """The different preprocessings of some tags, each with its tags."""
    import open_clip

    found: dict[str, tuple[Preprocess, list[tuple[str, str]]]] = {}
    for each in tags:
        config = _own(open_clip.get_pretrained_cfg(*each))
        found.setdefault(canonical_json(config), (config, []))[1].append(each)
    return list(found.values())


def _differing(config: Preprocess, others: list[Preprocess]) -> str:
    """The fields in which some preprocessings differ, in words."""
    names = [name for name in _FIELDS if len({canonical_json(o.get(name)) for o in others}) > 1]
    return ", ".join(f"{name} {_in_words(config.get(name))}" for name in names)


def _in_words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(f"{each:.3g}" for each in value)
    return str(value)


def _own(config: Mapping[str, Any]) -> Preprocess:
    """The fields of a configuration that describe the preprocessing."""
    return {name: config[name] for name in _FIELDS if config.get(name) is not None}


def _checked(config: Mapping[str, Any], file: Path) -> Preprocess:
    """The preprocessing of an open_clip configuration, completed with open_clip's defaults."""
    import open_clip

    if config.get("mode", "RGB") != "RGB":
        raise _unusable(file, f"mode is {config['mode']!r}, expected RGB")
    defaults = _own(vars(open_clip.transform.PreprocessCfg()))
    found = {**defaults, **_own(config)}
    return {**found, **{name: _channels(found[name], name, file) for name in ("mean", "std")}}


def _channels(values: Any, name: str, file: Path) -> tuple[float, ...]:
    """Three numbers; equal values of other types become the same, as in a tag's configuration."""
    least = 0.0 if name.endswith("std") else -np.inf
    try:
        numbers = np.broadcast_to(np.asarray(values, np.float64), 3)
    except (TypeError, ValueError, OverflowError):
        numbers = np.full(3, np.nan)
    if not (np.isfinite(numbers).all() and (numbers > least).all()):
        what = "three numbers above 0" if least == 0 else "three numbers"
        raise _unusable(file, f"{name} is {values!r:.80}; expected {what}")
    return tuple(numbers.tolist())


def _check_described(model: ModelName, described: Mapping[str, Any], file: Path) -> None:
    """Refuse a configuration beside the weights that is of another model."""
    import open_clip

    from clip_adapter.encoders.transformers_weights import differences

    ours = open_clip.get_model_config(model.architecture)
    fields = [name for name in differences(ours, described) if name not in _MAY_DIFFER]
    if fields:
        raise EncoderError(
            f"model {model.name!r}: {file} is of another model than {model.architecture}: "
            f"{', '.join(fields[:6])} differ. Name its architecture, or take the file away"
        )


def _image_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that the image tower reads; 224 unless said, in open_clip and transformers."""
    tower = config.get("vision_cfg") or config.get("vision_config") or {}
    height, width = np.broadcast_to(tower.get("image_size", 224), 2).tolist()
    return height, width


def _beside(folder: Path, config: Mapping[str, Any]) -> Taken | None:
    """The preprocessing that a file of transformers in the folder describes.

    Args:
        folder: folder of the weights.
        config: configuration of their model, open_clip's or transformers'.
    """
    for name in PROCESSOR_FILES:
        read = _read_json(folder / name)
        processor = read if name == PROCESSOR_FILES[0] else read.get("image_processor")
        if processor:
            found = _from_transformers(processor, folder / name, size=_image_size(config))
            return found, f"that of {name} beside the weights"
    return None


def _from_transformers(
    config: Mapping[str, Any], file: Path, *, size: tuple[int, int]
) -> Preprocess:
    """open_clip's fields for an image processor of transformers.

    Raises:
        EncoderError: open_clip's fields cannot describe it, or its size is not the architecture's.
    """
    resize_mode, found = _resizing(config, file)
    if found != size:
        raise _unusable(file, f"its pictures have {found} pixels, the architecture reads {size}")
    wrong = {
        "do_resize": not config.get("do_resize", True),
        "do_rescale": not config.get("do_rescale", True),
        "do_pad": config.get("do_pad"),
        "rescale_factor": not math.isclose(config.get("rescale_factor") or 1 / 255, 1 / 255),
        "resample": config.get("resample") not in _INTERPOLATIONS,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise _unusable(file, f"{name} is {config.get(name)!r}")
    if config.get("do_normalize", True):
        mean, std = config.get("image_mean"), config.get("image_std")
    else:
        mean, std = 0.0, 1.0
    return {
        "resize_mode": resize_mode,
        "interpolation": _INTERPOLATIONS[config["resample"]],
        "mean": _channels(mean, "image_mean", file),
        "std": _channels(std, "image_std", file),
    }


def _resizing(config: Mapping[str, Any], file: Path) -> tuple[str, tuple[int, int]]:
    """Resize mode and size; transformers writes a square as one number or as a mapping."""
    size, crop = config.get("size"), config.get("crop_size")
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    crop = crop if config.get("do_center_crop", crop is not None) else None
    match size, crop:
        case {"shortest_edge": int(edge), **rest}, {"height": int(height), "width": int(width)}:
            if edge == height == width and not any(rest.values()):
                return "shortest", (edge, edge)
        case {"height": int(height), "width": int(width)}, None:
            return "squash", (height, width)
    raise _unusable(
        file, f"size is {config.get('size')!r} and crop_size {config.get('crop_size')!r}"
    )


def _unusable(file: Path, found: str) -> EncoderError:
    return EncoderError(
        f"{file} describes a preprocessing that cannot be used: {found}. Give --preprocessing TAG of "
        "a model with an equal one"
    )


def _refuse_choice(model: ModelName, asked: str | None) -> None:
    if asked is not None:
        raise EncoderError(
            f"model {model.name!r} has its own preprocessing, so --preprocessing {asked} can change "
            "nothing: leave it out; --resize chooses another resize mode"
        )


def _open_clip_config(model: ModelName) -> dict[str, Any]:
    """The configuration in a folder, or in a repository of the hub, which is downloaded."""
    if model.where == "folder":
        return _read_json(Path(model.architecture.removeprefix(LOCAL_DIR)) / CONFIG_FILE)
    from huggingface_hub import hf_hub_download

    repository = model.architecture.removeprefix(HF_HUB)
    try:
        path = hf_hub_download(repository, CONFIG_FILE)
    except Exception as error:  # that of a host, of the cache or of the name
        reason = " ".join(str(error).split("\n")[:1]) or type(error).__name__
        message = f"model {model.name!r} could not be loaded: no {CONFIG_FILE}: {reason}"
        raise EncoderError(message) from error
    return _read_json(Path(path))


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{file} holds a {type(value).__name__}; expected a JSON object")  # noqa: TRY004  # as above
    return value
