"""Models of files on this machine: an architecture, its weights and its tokenizer."""

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import _find_checkpoint_in_dir

from clip_adapter.encoders import transformers_weights
from clip_adapter.encoders.checkpoints import (
    Checkpoint,
    fitting_models,
    load_weights,
    read_checkpoint,
)
from clip_adapter.encoders.fingerprint import canonical_json
from clip_adapter.encoders.names import CONFIG_FILE, LOCAL_DIR, TRANSFORMERS_CONFIG, ModelName
from clip_adapter.errors import EncoderError

Parts = tuple[Any, Any, dict[str, Any], tuple[str, ...]]
"""Model, tokenizer, open_clip's configuration, and sentences for the user about what was taken."""


def build_local(name: ModelName, device: torch.device) -> Parts:
    """Build the model of a checkpoint, or of a folder as open_clip or transformers saves it.

    Args:
        name: a name whose `where` is `checkpoint` or `folder`.
        device: device of the model.

    Raises:
        EncoderError: the weights cannot be read, do not fit the architecture, or belong to a model
            that open_clip does not have.
    """
    if name.where == "checkpoint":
        return _of_checkpoint(name.architecture, Path(str(name.pretrained)), device)
    folder = Path(name.architecture.removeprefix(LOCAL_DIR))
    if not (folder / CONFIG_FILE).is_file():
        return _of_transformers(folder, device)
    refuse_code(open_clip.get_model_config(name.architecture))
    model = _untrained(name.architecture, device)
    checkpoint = read_checkpoint(Path(str(_find_checkpoint_in_dir(folder))))
    notes = load_weights(model, checkpoint, architecture=f"its {CONFIG_FILE}")
    return _with_tokenizer(model, name.architecture, notes)


def refuse_code(config: dict[str, Any]) -> None:
    """Refuse a configuration that lets transformers run Python code of the model.

    Raises:
        EncoderError: it does.
    """
    if "trust_remote_code" in canonical_json(config):
        raise EncoderError("it asks for trust_remote_code, and no code of a model is run here")


def _with_tokenizer(model: Any, architecture: str, notes: tuple[str, ...]) -> Parts:
    config = open_clip.get_model_config(architecture)
    refuse_code(config)
    return model, open_clip.get_tokenizer(architecture), config, notes


def _untrained(architecture: str, device: torch.device) -> Any:
    """An open_clip model with random weights, without any download."""
    return open_clip.create_model(
        architecture, device=device, load_weights=False, pretrained_text=False
    )


def _of_checkpoint(typed: str, path: Path, device: torch.device) -> Parts:
    """An architecture with the weights of a file.

    Beside weights of transformers, its configuration decides what no weight shows: the activation
    function and the numbers of heads.
    """
    checkpoint = read_checkpoint(path)
    beside = transformers_weights.read_config(path.parent) if checkpoint.from_transformers else None
    kind = beside["model_type"] if beside else ""
    architecture = typed
    notes: tuple[str, ...] = ()
    if beside and kind == "clip":
        architecture = transformers_weights.activation_form(typed, beside)
        transformers_weights.check_vocabulary(path.parent)
    if architecture != typed:
        reason = f"hidden_act in the {TRANSFORMERS_CONFIG} beside the weights says so"
        notes += (f"loaded as {architecture}, not as {typed}: {reason}",)
    model = _untrained(architecture, device)
    notes = (*notes, *load_weights(model, checkpoint, architecture=architecture))
    if beside and kind == "siglip":
        sizes = transformers_weights.siglip_sizes(beside)
        if not transformers_weights.fits_siglip(model, sizes):
            message = (
                f"the {TRANSFORMERS_CONFIG} beside it says {canonical_json(sizes)}, which "
                f"{architecture} does not have; write local-dir:{path.parent} to find the one that has"
            )
            raise EncoderError(message)
        notes += transformers_weights.gelu_notes(model)
    return _with_tokenizer(model, architecture, notes)


def _of_transformers(folder: Path, device: torch.device) -> Parts:
    """The CLIP or SigLIP that transformers' configuration describes, as open_clip computes it."""
    config = transformers_weights.read_config(folder)
    if config is None:
        message = f"the {TRANSFORMERS_CONFIG} in {folder} is not that of a CLIP or SigLIP"
        raise EncoderError(message)
    checkpoint = read_checkpoint(transformers_weights.weights_file(folder))
    if config["model_type"] == "siglip":
        return _of_siglip(config, folder, checkpoint, device)
    transformers_weights.check_vocabulary(folder)
    wanted = transformers_weights.clip_config(config)
    known = transformers_weights.known_clip(wanted)
    model = _untrained(known, device) if known else open_clip.CLIP(**wanted).to(device)
    notes = load_weights(model, checkpoint, architecture=known or f"its {TRANSFORMERS_CONFIG}")
    if known:
        return _with_tokenizer(model, known, notes)
    context_length = wanted["text_cfg"]["context_length"]
    tokenizer = open_clip.SimpleTokenizer(context_length=context_length)
    return model, tokenizer, wanted, notes


def _of_siglip(
    config: dict[str, Any], folder: Path, checkpoint: Checkpoint, device: torch.device
) -> Parts:
    """The first SigLIP of open_clip with these sizes: timm has the image towers of no others."""
    sizes = transformers_weights.siglip_sizes(config)
    fitting = fitting_models(checkpoint.state)
    architecture = next(
        (name for name, model in fitting if transformers_weights.fits_siglip(model, sizes)), None
    )
    if architecture is None:
        message = (
            f"open_clip has no SigLIP with the sizes of the weights in {folder} and with "
            f"{canonical_json(sizes)}, as its {TRANSFORMERS_CONFIG} says"
        )
        raise EncoderError(message)
    model = _untrained(architecture, device)
    notes = (
        *load_weights(model, checkpoint, architecture=architecture),
        f"the weights are those of open_clip's {architecture}",
        *transformers_weights.gelu_notes(model),
    )
    described = open_clip.get_model_config(architecture)
    text = described["text_cfg"]
    if not (folder / "tokenizer_config.json").is_file():
        if text.get("hf_tokenizer_name"):
            raise EncoderError(
                f"there is no tokenizer in {folder}: save that of the model there, by "
                "AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)"
            )
        return _with_tokenizer(model, architecture, notes)
    # As open_clip's get_tokenizer does for a folder of its own.
    tokenizer = open_clip.tokenizer.HFTokenizer(
        str(folder),
        context_length=text["context_length"],
        tokenizer_mode=text.get("tokenizer_mode"),
        trust_remote_code=False,
        **text.get("tokenizer_kwargs", {}),
    )
    return model, tokenizer, described, notes
