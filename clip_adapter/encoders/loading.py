"""From a model name to frozen towers, or one clear reason why not."""

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import open_clip
import torch

from clip_adapter.encoders.arithmetic import Arithmetic
from clip_adapter.encoders.availability import check_available
from clip_adapter.encoders.batches import Batches
from clip_adapter.encoders.encoder import Encoder
from clip_adapter.encoders.errors import EncoderError
from clip_adapter.encoders.fingerprint import EncoderIdentity, canonical_json
from clip_adapter.encoders.names import BUILT_IN, ModelName, parse_model_name
from clip_adapter.encoders.preprocessing import preprocessing_of
from clip_adapter.encoders.tokenizers import digest_tokenizer
from clip_adapter.errors import UnknownNameError
from clip_adapter.images import ResizeMode


def digest_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Sha256 over names, types, shapes and bytes of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_encoder(
    name: str = BUILT_IN,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    precision: str = "fp32",
    resize: str | None = None,
) -> Encoder:
    """Load an open_clip model, frozen.

    Args:
        name: in one of the forms of `parse_model_name`.
        device: in torch's spelling.
        batch_size: pictures or prompts a forward pass; part of no feature's identity, though
            another size may change the last bits.
        precision: `fp32`, `bf16` or `fp16`; docs/adr/0009-precision.md.
        resize: `shortest` (CLIP), `squash` (CoOp) or `longest`; None for the model's own.

    Raises:
        UnknownNameError: for a model, precision or resize mode that does not exist.
        NoNetworkError: for weights out of reach.
        EncoderError: for weights that do not fit their configuration, a damaged file, or a batch
            size below 1.
    """
    if batch_size < 1:
        raise EncoderError(f"batch_size is {batch_size}; expected 1 or more")
    arithmetic = Arithmetic.named(precision)
    if resize is not None and resize not in get_args(ResizeMode):
        raise UnknownNameError("resize mode", resize, get_args(ResizeMode))
    model_name = parse_model_name(name)
    check_available(model_name)
    model, tokenizer, config = _create(model_name, torch.device(device))
    preprocessing = preprocessing_of(model, resize=resize)
    identity = EncoderIdentity(
        model_config=canonical_json(config),
        weights_sha256=digest_weights(model.state_dict()),
        preprocessing=preprocessing.canonical(),
        tokenizer=digest_tokenizer(tokenizer),
        precision=arithmetic.precision,
        format_version=arithmetic.format_version,
    )
    # Of images there are many, of prompts few; and CoOp's gradients want the text tower as it is.
    arithmetic.round_weights(model.visual)
    return Encoder(
        name=name,
        identity=identity,
        logit_scale=float(model.logit_scale.detach().exp()),
        context_length=int(model.context_length),
        device=torch.device(device),
        preprocessing=preprocessing,
        arithmetic=arithmetic,
        batches=Batches(batch_size),
        model=model,
        tokenizer=tokenizer,
    )


def _create(name: ModelName, device: torch.device) -> tuple[Any, Any, dict[str, Any]]:
    try:
        with warnings.catch_warnings(), _quiet_root_logger():
            # The wrong activation function changes every feature: not a matter for a warning.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model, _, _ = open_clip.create_model_and_transforms(
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
    return model.eval().requires_grad_(requires_grad=False), tokenizer, config


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
