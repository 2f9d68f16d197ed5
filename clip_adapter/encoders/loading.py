"""From a model name to frozen towers, or one clear reason why not."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import open_clip
import torch
from torch import nn

from clip_adapter.encoders.availability import check_available
from clip_adapter.encoders.encoder import Encoder
from clip_adapter.encoders.errors import EncoderError
from clip_adapter.encoders.fingerprint import EncoderIdentity, canonical_json, digest_weights
from clip_adapter.encoders.names import BUILT_IN, ModelName, parse_model_name

__all__ = ["load_encoder"]


def load_encoder(
    name: str = BUILT_IN, *, device: str | torch.device = "cpu", batch_size: int = 64
) -> Encoder:
    """Load an open_clip model, frozen, in float32.

    Args:
        name: in one of the forms of `parse_model_name`.
        device: in torch's spelling.
        batch_size: pictures or prompts a forward pass; part of no feature's identity, though
            another size may change the last bits.

    Raises:
        UnknownNameError: for a model that does not exist.
        NoNetworkError: for weights out of reach.
        EncoderError: for weights that do not fit their configuration, a damaged file, or a batch
            size below 1.
    """
    if batch_size < 1:
        raise EncoderError(f"batch_size is {batch_size}; expected 1 or more")
    model_name = parse_model_name(name)
    check_available(model_name)
    model, transform, tokenizer, config = _create(model_name, torch.device(device))
    return Encoder(
        name=name,
        identity=_identity(model, config),
        logit_scale=float(model.logit_scale.detach().exp()),
        context_length=int(model.context_length),
        device=torch.device(device),
        batch_size=batch_size,
        model=model,
        transform=transform,
        tokenizer=tokenizer,
    )


def _create(name: ModelName, device: torch.device) -> tuple[Any, Any, Any, dict[str, Any]]:
    try:
        with warnings.catch_warnings(), _quiet_root_logger():
            # The wrong activation function changes every feature: not a matter for a warning.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model, _, transform = open_clip.create_model_and_transforms(
                name.architecture,
                pretrained=name.pretrained,
                device=device,
                require_pretrained=True,
                weights_only=True,
            )
            config = open_clip.get_model_config(name.architecture)
            _refuse_code(name, config)
            tokenizer = open_clip.get_tokenizer(name.architecture)
    except EncoderError:
        raise
    except Exception as error:  # a damaged file or configuration fails in any way it likes
        advice = (
            f"; use {name.architecture}-quickgelu:{name.pretrained}"
            if isinstance(error, UserWarning)
            else ""
        )
        message = f"model {name.name!r} could not be loaded: {_reason(error)}{advice}"
        raise EncoderError(message) from error
    # Convolutional towers run up to twice as fast with the channels innermost.
    model.to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(requires_grad=False), transform, tokenizer, config


def _refuse_code(name: ModelName, config: dict[str, Any]) -> None:
    """A configuration may ask transformers to run Python that lies beside it; ours may not."""
    if "trust_remote_code" in canonical_json(config):
        message = f"model {name.name!r} asks for trust_remote_code: no code of a model is run here"
        raise EncoderError(message)


def _reason(error: Exception) -> str:
    """What open_clip, torch or safetensors found wrong, in one line."""
    if type(error).__name__ == "UnpicklingError":  # torch's own words advise to run its code
        return "the checkpoint is damaged, or holds other things than tensors"
    if isinstance(error, ModuleNotFoundError):
        return f"its text tower needs the package {error.name!r}: pip install {error.name}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
    if isinstance(error, (RuntimeError, ValueError, OSError, UserWarning)) and lines:
        return " ".join(lines)
    return " ".join([type(error).__name__, *lines])


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Keep open_clip's remarks, which it makes to the root logger, from a person's terminal.

    Whatever matters among them is an error here.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)


def _identity(model: nn.Module, config: dict[str, Any]) -> EncoderIdentity:
    return EncoderIdentity(
        model_config=canonical_json(copy.deepcopy(config)),
        weights_sha256=digest_weights(model.state_dict()),
        preprocessing=canonical_json(open_clip.get_model_preprocess_cfg(model)),
        precision="fp32",
    )
