"""Loading an encoder by the name of its model."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, get_args

import open_clip
import torch
from open_clip.tokenizer import get_clean_fn

from clip_adapter.encoders.availability import check_available, hub_offline
from clip_adapter.encoders.encoder import Encoder
from clip_adapter.encoders.fingerprint import (
    EncoderIdentity,
    canonical_json,
    digest_tokenizer,
    digest_weights,
)
from clip_adapter.encoders.forward_pass import Batches, PrecisionPolicy
from clip_adapter.encoders.local_models import Parts, build_local, refuse_code
from clip_adapter.encoders.model_settings import find_settings
from clip_adapter.encoders.names import BUILT_IN, ModelName, parse_model_name
from clip_adapter.encoders.preprocessing import preprocessing_of
from clip_adapter.errors import EncoderError, NoNetworkError, UnknownNameError
from clip_adapter.images import ResizeMode

GEMMA_VOCABULARY = 256_000
"""Number of tokens of Gemma's vocabulary, which among sigmoid models only SigLIP 2 has."""


def load_encoder(  # noqa: PLR0913  # each changes the encoder or the machine it runs on
    name: str = BUILT_IN,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    precision: str = "fp32",
    resize: str | None = None,
    preprocessing: str | None = None,
) -> Encoder:
    """Load an open_clip model, frozen.

    Args:
        name: in one of the forms of `parse_model_name`.
        device: torch device, such as "cuda:0".
        batch_size: number of images or prompts in a forward pass; not a part of the identity,
            though another size may change the last bits.
        precision: `fp32`, `bf16` or `fp16`; docs/adr/0009-precision.md.
        resize: `shortest` (CLIP), `squash` (CoOp) or `longest`; None for the model's own.
        preprocessing: for weights whose preprocessing is not known, TAG of their architecture or
            ARCHITECTURE:TAG of open_clip's whose preprocessing to use.

    Raises:
        UnknownNameError: a model, precision, resize mode or tag does not exist.
        NoNetworkError: the weights have to be downloaded, and their host does not answer.
        EncoderError: weights are missing, damaged, zero or not finite, or do not fit their
            configuration; their preprocessing is not known; a package or memory is missing; or the
            batch size is below 1.
    """
    if batch_size < 1:
        raise EncoderError(f"batch_size is {batch_size}; expected 1 or more")
    policy = PrecisionPolicy.of(precision)
    if resize is not None and resize not in get_args(ResizeMode):
        raise UnknownNameError("resize mode", resize, get_args(ResizeMode))
    model_name = parse_model_name(name)
    with hub_offline(offline=not check_available(model_name)):
        settings = find_settings(model_name, preprocessing=preprocessing)
        model, tokenizer, config, notes = _create(settings.model, torch.device(device))
    _check_weights(name, model.state_dict())
    transform = preprocessing_of(model, found=settings.preprocessing, resize=resize)
    identity = EncoderIdentity(
        model_config=canonical_json(config),
        weights_sha256=digest_weights(model.state_dict()),
        preprocessing=transform.canonical(),
        tokenizer=digest_tokenizer(tokenizer),
        precision=policy.precision,
        format_version=policy.format_version,
    )
    # Images are many and prompts few, and CoOp's gradients need the text tower in float32.
    policy.round_weights(model.visual)
    bias = getattr(model, "logit_bias", None)
    return Encoder(
        name=name,
        identity=identity,
        logit_scale=float(model.logit_scale.detach().exp()),
        logit_bias=None if bias is None else float(bias.detach()),
        context_length=int(model.context_length),
        device=torch.device(device),
        preprocessing=transform,
        precision=policy,
        batches=Batches(batch_size),
        model=model,
        tokenizer=tokenizer,
        notes=(*settings.notes, *notes),
    )


def _create(name: ModelName, device: torch.device) -> Parts:
    try:
        with warnings.catch_warnings(), _quiet_root_logger(), _no_code_of_models():
            # The wrong activation function changes every feature: not a matter for a warning.
            # Of roberta-ViT-B-32 the configuration is right, and open_clip's table of tags is not.
            warnings.filterwarnings("ignore", message="QuickGELU mismatch")
            warnings.filterwarnings(
                "error", message=r"QuickGELU mismatch .*config \(quick_gelu=False"
            )
            model, tokenizer, config, notes = _parts(name, device)
            _lower_case(tokenizer, config)
    except NoNetworkError:
        raise
    except EncoderError as error:
        raise EncoderError(f"model {name.name!r} could not be loaded: {error}") from error
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
    return model.eval().requires_grad_(requires_grad=False), tokenizer, config, notes


def _parts(name: ModelName, device: torch.device) -> Parts:
    if name.where in {"checkpoint", "folder"}:
        return build_local(name, device)
    config = open_clip.get_model_config(name.architecture)
    refuse_code(config)
    model = open_clip.create_model(
        name.architecture,
        pretrained=name.pretrained,
        device=device,
        require_pretrained=True,
        weights_only=True,
    )
    return model, open_clip.get_tokenizer(name.architecture), config, ()


def _check_weights(name: str, state: dict[str, Any]) -> None:
    """Refuse weights that are no numbers, and matrices of zeros, as a download leaves that stopped.

    A zero vector may be meant, and so may the one row of token types of a RoBERTa.
    """
    floating = {key: value for key, value in state.items() if value.is_floating_point()}
    wrong = {key: "not finite" for key, value in floating.items() if not value.isfinite().all()}
    matrices = {key: value for key, value in floating.items() if value.ndim > 1 and len(value) > 1}
    wrong |= {key: "all zero" for key, value in matrices.items() if not value.any()}
    if wrong:
        named = ", ".join(f"{key} ({what})" for key, what in [*wrong.items()][:3])
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise EncoderError(
            f"model {name!r} could not be loaded: {len(wrong)} of {len(state)} tensors hold no "
            f"weights: {named}{more}; download or save the file again"
        )


def _lower_case(tokenizer: Any, config: dict[str, Any]) -> None:
    """Make a tokenizer of SigLIP 2 lower-case its prompts, where it does not.

    SigLIP 2 was trained on lower-cased text, and its vocabulary, Gemma's, tells capitals apart:
    https://github.com/google-research/big_vision, SigLIP2_demo.ipynb. open_clip's configurations of the
    family say how text is cleaned; one in a folder or on the hub may leave it out.
    """
    text = config["text_cfg"]
    is_siglip2 = "init_logit_bias" in config and text.get("vocab_size") == GEMMA_VOCABULARY
    is_silent = "clean" not in (text.get("tokenizer_kwargs") or {})
    if is_siglip2 and is_silent and not torch.equal(*tokenizer(["A", "a"])):
        tokenizer.clean_fn = get_clean_fn("canonicalize")


def _reason(error: Exception) -> str:
    """The message of open_clip, torch or safetensors in one line."""
    if type(error).__name__ == "UnpicklingError":  # torch's own words advise to run its code
        return "the checkpoint is damaged, or holds other things than tensors"
    if "trust_remote_code" in str(error):
        return "it asks for trust_remote_code, and no code of a model is run here"
    if isinstance(error, ModuleNotFoundError):
        extra = "'clip-adapter[hf]'" if error.name == "transformers" else error.name
        return f"it needs the package {error.name!r}: pip install {extra}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
    if isinstance(error, (RuntimeError, ValueError, OSError, UserWarning)) and lines:
        return " ".join(lines)
    return " ".join([type(error).__name__, *lines])


@contextmanager
def _no_code_of_models() -> Iterator[None]:
    """Let transformers refuse a model that comes with code, where it would ask the user to run it."""
    if find_spec("transformers") is None:
        yield
        return
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Silence open_clip, which logs to the root logger; what matters of it is an error here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)
