"""Files of weights as people have them: read without running anything, and loaded whole or not at all.

The only pickles that are read are torch's, by its weights-only reader; SECURITY.md.
"""

import difflib
import hashlib
import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.convert import convert_state_dict, load_big_vision_weights
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clip_adapter.encoders import published
from clip_adapter.encoders.transformers_weights import is_transformers, to_open_clip
from clip_adapter.errors import EncoderError

LIMIT_BYTES = 32 * 2**30
"""Bound on a file of weights and on what it unpacks to: open_clip's largest has 20 GB of weights."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys below which a training checkpoint holds its weights."""
PREFIXES = ("module.", "model.", "_orig_mod.")
"""Prefixes of the keys that DataParallel, Lightning and torch.compile leave."""

_NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}  # of OpenAI's archives
_TEXT_BLOCK = re.compile(r"(?:text\.)?transformer\.resblocks\.(\d+)\.")
_BIG_VISION = re.compile(r"(params/)?(img/.*|txt/.*|b|t)\.npy")
_POSITIONS = ("positional_embedding", "pos_embed")
_ADAPTER = re.compile(r"lora_|\bbase_layer\b|\bbase_model\b|adapter", re.IGNORECASE)
# Classes whose making runs no code of the file, so that torch may be told to unpickle them.
_HARMLESS = re.compile(
    r"argparse\.Namespace|numpy\.dtype|numpy\.ndarray|numpy\._?core\.multiarray\.(_reconstruct|scalar)"
)
_LINE_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights read from a file.

    Attributes:
        path: the file.
        state: tensors by open_clip's keys, where those of the file are known; empty for `.npz`,
            which open_clip reads into a model of its own.
        notes: sentences for the user about what was changed.
        from_transformers: whether the keys were those of Hugging Face's transformers.
    """

    path: Path
    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    from_transformers: bool = False


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a `.safetensors` file, a checkpoint of torch, or big_vision's `.npz`.

    A TorchScript archive is code, so one is loaded only if its bytes are those of a file that OpenAI
    published, and of that the weights alone are taken.

    Raises:
        EncoderError: the file is too large, is damaged, holds other things than tensors, or is a
            TorchScript archive that OpenAI did not publish.
    """
    _refuse_size(path.stat().st_size, path)
    entries = _entries(path)
    if path.suffix == ".npz":
        return Checkpoint(path=path, state={})
    # torch itself tells its own archives from TorchScript's by this entry.
    is_torchscript = any(entry.rpartition("/")[2] == "constants.pkl" for entry in entries)
    content = _read_torchscript(path) if is_torchscript else _read(path)
    state, notes = _without_prefixes(_tensors(content, path), path)
    from_transformers = is_transformers(state)
    return Checkpoint(
        path=path,
        state=to_open_clip(state) if from_transformers else state,
        notes=notes,
        from_transformers=from_transformers,
    )


def _refuse_size(size_bytes: int, path: Path) -> None:
    if size_bytes > LIMIT_BYTES:
        message = (
            f"{path.name} holds {size_bytes / 2**30:.0f} GiB; expected at most "
            f"{LIMIT_BYTES >> 30}: save the weights alone, without the state of an optimiser"
        )
        raise EncoderError(message)


def _read(path: Path) -> Any:
    """Content of a file in one of torch's formats or safetensors."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise EncoderError(f"{path.name}: SafetensorError {error}") from error
    with warnings.catch_warnings(action="ignore"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file fails in any way it likes
            kind = type(error).__name__
            message = f"{path.name} is damaged, or no checkpoint of torch ({kind})"
            found = _foreign_classes(path, str(error)) if kind == "UnpicklingError" else []
            raise EncoderError(_foreign(path, found) if found else message) from error


def _entries(path: Path) -> list[str]:
    """Names in a zip archive, whose unpacked size is bounded; empty for another file."""
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise EncoderError(f"{path.name} is damaged: {error}") from error
    _refuse_size(sum(entry.file_size for entry in entries), path)
    return [entry.filename for entry in entries]


def _read_torchscript(path: Path) -> Any:
    """The weights of one of OpenAI's archives: the bytes that were digested are those loaded."""
    # Only what may be OpenAI's is held in memory, and only what was digested there is loaded.
    content = path.read_bytes() if published.is_openai(published.digest_file(path)) else b""
    if not published.is_openai(hashlib.sha256(content).hexdigest()):
        target = path.with_suffix(".safetensors").name
        message = (
            f"{path.name} is a TorchScript archive, which is code, and none that OpenAI published; "
            "where you trust the file, save its weights alone and give that file instead:\n"
            "  import torch; from safetensors.torch import save_file\n"
            f"  weights = torch.jit.load({path.name!r}, map_location='cpu').state_dict()\n"
            f"  save_file({{key: each.contiguous() for key, each in weights.items()}}, {target!r})"
        )
        raise EncoderError(message)
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]


def _foreign(path: Path, found: list[str]) -> str:
    """What a checkpoint holds beside tensors, and how to save its weights alone."""
    target = path.with_suffix(".safetensors").name
    message = f"{path.name} holds {', '.join(found[:4])}, and only tensors are unpickled here"
    if not all(_HARMLESS.fullmatch(each) for each in found):
        return (
            f"{message}; save the weights alone in the program that made it, and give that file:\n"
            "  from safetensors.torch import save_file\n"
            "  weights = {key: each.contiguous() for key, each in model.state_dict().items()}\n"
            f"  save_file(weights, {target!r})"
        )
    # numpy before 2 named its core otherwise.
    allowed = [f"({each}, {each!r})" if "numpy.core." in each else each for each in found]
    if any(each.startswith("numpy.") for each in found):
        allowed.append("*map(type, map(numpy.dtype, '?bhilqBHILQefdg'))")
    wrapper = _wrapper_of(path)
    return (
        f"{message}; where you trust the file, save its weights alone and give that file instead:\n"
        "  import argparse, numpy, torch; from safetensors.torch import save_file\n"
        f"  torch.serialization.add_safe_globals([{', '.join(allowed)}])\n"
        f"  save_file(torch.load({path.name!r}, map_location='cpu'){wrapper}, {target!r})"
    )


def _foreign_classes(path: Path, reason: str) -> list[str]:
    with suppress(Exception):  # what torch cannot list, in an older format, its message names
        names: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if names:
            return sorted(names)
    return re.findall(r"GLOBAL (\w[\w.]*)", reason)[:1]


def _wrapper_of(path: Path) -> str:
    """The index of the weights in a checkpoint that is not unpickled, as `['state_dict']`."""
    with suppress(Exception), zipfile.ZipFile(path) as archive:
        (entry,) = [each for each in archive.namelist() if each.endswith("/data.pkl")]
        words = {word for _, word, _ in pickletools.genops(archive.read(entry))}
        return "".join(f"[{each!r}]" for each in WRAPPERS if each in words)
    return ""


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, below one or two of the usual keys or none."""
    found = content
    for _ in range(2):
        inner = [found[key] for key in WRAPPERS if key in found] if _is_dict(found) else []
        found = next((each for each in inner if _is_dict(each)), found)
    if not _is_dict(found) or not found:
        message = f"{path.name} holds {_kind(found)}; expected a state dict, tensors by their keys"
        raise EncoderError(message)
    odd = [key for key, each in found.items() if not _is_dense(each) or not isinstance(key, str)]
    if odd:
        listed = ", ".join(f"{key!r} ({_kind(found[key])})" for key in odd[:4])
        message = (
            f"{path.name} holds other things than tensors: {listed}; expected a state dict, alone "
            f"or below {', '.join(map(repr, WRAPPERS))}"
        )
        raise EncoderError(message)
    # A tensor may repeat one number without holding it in memory.
    _refuse_size(sum(each.numel() * each.element_size() for each in found.values()), path)
    return {key: each.detach() for key, each in found.items()}


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _kind(value: Any) -> str:
    if _is_dict(value):
        keys = ", ".join(map(repr, list(value)[:4]))
        return f"a dictionary of {keys}" if keys else "an empty dictionary"
    return type(value).__name__


def _without_prefixes(
    state: dict[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    removed = ""
    while prefix := _shared_prefix(state):
        removed += prefix
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    state = {key: tensor for key, tensor in state.items() if key not in _NO_WEIGHTS}
    if not removed:
        return state, ()
    return state, (f"the prefix {removed!r} was removed from all keys of {path.name}",)


def _shared_prefix(state: Iterable[str]) -> str | None:
    return next((each for each in PREFIXES if all(key.startswith(each) for key in state)), None)


def load_weights(model: Any, checkpoint: Checkpoint, *, architecture: str) -> tuple[str, ...]:
    """Copy a checkpoint's weights into a model of open_clip, all of them or none.

    Weights in half precision are widened. Unlike in open_clip, positional embeddings of another image
    size or context length are not interpolated.

    Args:
        model: the model, in float32.
        checkpoint: the weights.
        architecture: name of its architecture, for the error.

    Returns:
        Sentences for the user: those of the checkpoint, and one if a sigmoid model's bias is missing.

    Raises:
        EncoderError: keys are missing or unexpected, or shapes differ; the message has five lines.
    """
    if checkpoint.path.suffix == ".npz":
        _load_big_vision(model, checkpoint)
        return checkpoint.notes
    state = _for_model(model, checkpoint.state)
    misfit = _misfit(model.state_dict(), state)
    if any(misfit):
        heading = f"{checkpoint.path.name} does not fit {architecture}"
        lines = _described(model.state_dict(), state, misfit)
        hint = (
            _likeliest_reason(model.state_dict(), state, misfit)
            or _fitting_architecture(checkpoint.state, architecture)
            or _other_positions(misfit)
            or "an architecture or a version of the code that open_clip does not have"
        )
        message = [heading, *lines, f"likeliest reason: {hint}"]
        raise EncoderError("\n".join(map(_shortened, message)))
    model.load_state_dict(state)
    if model.logit_bias is not None and "logit_bias" not in checkpoint.state:
        without = (
            f"{checkpoint.path.name} holds no logit_bias: it is 0, and sigmoids are not calibrated"
        )
        return (*checkpoint.notes, without)
    return checkpoint.notes


Misfit = tuple[list[str], list[str], list[str]]


def _for_model(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the model's keys, where open_clip knows how; its `load_checkpoint`."""
    state = dict(weights)
    if hasattr(model.visual, "trunk"):
        state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    if "logit_bias" in state and model.logit_bias is None:  # CLIP trained with SigLIP's loss
        model.logit_bias = torch.nn.Parameter(torch.zeros_like(model.logit_scale))
    for scalar in ("logit_scale", "logit_bias"):
        ours = getattr(model, scalar)
        if scalar in state and state[scalar].numel() == 1:
            state[scalar] = state[scalar].reshape(ours.shape)
    if model.logit_bias is not None and "logit_scale" in state:
        state.setdefault("logit_bias", torch.zeros_like(state["logit_scale"]))
    # Newer versions of transformers compute these instead of storing them.
    if "text.transformer.embeddings.position_ids" not in model.state_dict():
        state.pop("text.transformer.embeddings.position_ids", None)
    return state


def _misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Misfit:
    """Keys that are missing, unexpected, and of another shape or kind of number."""
    missing = [key for key in expected if key not in state and "num_batches_tracked" not in key]
    unexpected = [key for key in state if key not in expected]
    differing = [
        key
        for key, tensor in expected.items()
        if key in state
        and (
            state[key].shape != tensor.shape
            or (tensor.is_floating_point() and not state[key].is_floating_point())
        )
    ]
    return missing, unexpected, differing


def _described(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], misfit: Misfit
) -> list[str]:
    missing, unexpected, differing = misfit
    lines = [
        f"{len(missing)} of {len(expected)} keys are missing{_first(missing)}",
        f"{len(unexpected)} of the file's {len(state)} keys are unexpected{_first(unexpected)}",
        f"keys of another shape or type: {len(differing)}",
    ]
    if unexpected:
        prefix = _common_prefix(unexpected)
        lines[1] += f"; their common prefix is {prefix!r}" if prefix else "; no prefix is common"
    if differing:
        key = differing[0]
        lines[2] += f", as {key!r}: {_shape(state[key])}, expected {_shape(expected[key])}"
    return lines


def _common_prefix(keys: list[str]) -> str:
    return commonprefix(keys)  # noqa: RUF071  # strings, not paths


def _first(keys: list[str]) -> str:
    return f", as {keys[0]!r}" if keys else ""


def _shape(tensor: Tensor) -> str:
    return f"{' x '.join(map(str, tensor.shape)) or 'one'} {str(tensor.dtype).rpartition('.')[2]}"


def _shortened(line: str) -> str:
    return line if len(line) <= _LINE_LENGTH else f"{line[: _LINE_LENGTH - 3]}..."


def _likeliest_reason(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], misfit: Misfit
) -> str | None:
    missing, unexpected, differing = misfit
    if any(_ADAPTER.search(key) for key in unexpected):
        return (
            "these are LoRA or other adapter weights: merge them into the model before saving it "
            "(merge_and_unload() in peft)"
        )
    for prefix in [*PREFIXES, _common_prefix(list(state)).rpartition(".")[0] + "."]:
        carried = [key for key in state if key.startswith(prefix) and key not in expected]
        if carried and any(key.removeprefix(prefix) in expected for key in carried):
            return (
                f"{len(carried)} of the {len(state)} keys carry the prefix {prefix!r}: save the "
                "model inside, its keys without the prefix"
            )
    if not unexpected and not differing:
        towers = {key.partition(".")[0] == "visual" for key in missing}
        if len(towers) == 1 and len(missing) > 2:
            tower = "image" if True in towers else "text"
            return f"weights of the {tower} tower were not saved, or not all of them"
    return None


def _other_positions(misfit: Misfit) -> str | None:
    missing, unexpected, differing = misfit
    if missing or unexpected or not all(key.endswith(_POSITIONS) for key in differing):
        return None
    return (
        "weights of another image size or context length than the architecture's; they would have to "
        "be interpolated, which makes another model, and are not"
    )


def _fitting_architecture(weights: Mapping[str, Tensor], typed: str) -> str | None:
    """The architectures that the weights fit, as a reason, from their keys and shapes."""
    names = [name for name, _ in fitting_models(weights)]
    if not names:
        return None
    best = difflib.get_close_matches(typed, names, n=2, cutoff=0)
    return f"these are weights of another architecture: {' or '.join(best)}"


def fitting_models(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    """The architectures of open_clip that weights fit, each with its model without memory.

    Args:
        weights: tensors by open_clip's keys.
    """
    for name in _candidates(weights):
        with suppress(Exception):  # one that cannot be built is none that the user means
            with torch.device("meta"):
                model = open_clip.create_model(name, device="meta", load_weights=False)
            if not any(_misfit(model.state_dict(), _for_model(model, weights))):
                yield name, model


def _candidates(weights: Mapping[str, Tensor]) -> list[str]:
    """The few architectures whose sizes all occur in the shapes of the weights."""
    sizes = {size for tensor in weights.values() for size in tensor.shape}
    layers = len({found[1] for key in weights if (found := _TEXT_BLOCK.match(key))})
    uses_timm = any(key.startswith("visual.trunk.") for key in weights)
    configs = ((name, open_clip.get_model_config(name)) for name in open_clip.list_models())
    return [
        name
        for name, config in configs
        if "hf_model_name" not in config["text_cfg"]
        and config["text_cfg"].get("layers", 12) == layers
        and uses_timm == ("timm_model_name" in config["vision_cfg"])
        and _sizes(config) <= sizes
    ]


def _sizes(config: Mapping[str, Any]) -> set[int]:
    """Sizes in a configuration that are sizes of a tensor, too."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    sizes = {config["embed_dim"], text.get("width", 512), text.get("vocab_size", 49408)}
    if isinstance(vision.get("layers"), int):  # a ViT; neither a ResNet nor timm's
        patch = vision.get("patch_size", 16)
        sizes |= {vision.get("width", 768), patch, (vision["image_size"] // patch) ** 2 + 1}
    return sizes


def _load_big_vision(model: Any, checkpoint: Checkpoint) -> None:
    """Load big_vision's arrays with open_clip's reader, which does not see what it leaves out."""
    try:
        found = _n_numbers(checkpoint.path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        message = f"{checkpoint.path.name} is damaged, or holds other things than arrays of numbers"
        raise EncoderError(message) from error
    expected = sum(each.numel() for each in model.parameters())
    if found != expected:
        message = (
            f"{checkpoint.path.name} holds {found:,} numbers of a SigLIP of big_vision, and this "
            f"architecture has {expected:,}: it is of another one"
        )
        raise EncoderError(message)
    load_big_vision_weights(model, checkpoint.path)


def _n_numbers(path: Path) -> int:
    """Number of numbers in the arrays of a SigLIP of big_vision."""
    found = 0
    with zipfile.ZipFile(path) as archive:
        for entry in filter(_BIG_VISION.fullmatch, archive.namelist()):
            with archive.open(entry) as stream:
                found += np.lib.format.read_array(stream, allow_pickle=False).size
    return found
