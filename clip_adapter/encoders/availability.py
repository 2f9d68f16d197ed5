"""Knows within seconds whether a model's weights can be had."""

from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import open_clip

from clip_adapter.encoders.errors import NoNetworkError
from clip_adapter.encoders.names import ModelName
from clip_adapter.network import Probe

WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


def check_available(model: ModelName, *, probe: Probe | None = None) -> None:
    """Return if the weights are on this machine or their host answers.

    Without a network open_clip retries for most of a minute; this asks the host once, for at
    most four seconds.

    Args:
        model: what is about to be loaded.
        probe: a question to the host that is under way already.

    Raises:
        NoNetworkError: naming the host that does not answer and the ways around it.
    """
    if model.where not in {"hub", "tag"} or _is_cached(model):
        return
    host = _host(model)
    if probe is None or probe.url != host:
        probe = Probe(host)
    if not probe.answers():
        message = (
            f"model {model.name!r} is not on this machine and {host} does not answer: connect to "
            "the network, give a local folder (local-dir:FOLDER) or checkpoint "
            "(ARCHITECTURE:PATH), or use the built-in model 'glyphs'"
        )
        raise NoNetworkError(message)


def _is_cached(model: ModelName) -> bool:
    repository, files = _hub_location(model)
    if repository:
        return any(
            isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str)
            for file in files
        )
    url: str = open_clip.get_pretrained_url(model.architecture, model.pretrained)
    return (Path("~/.cache/clip").expanduser() / url.rsplit("/", 1)[-1]).is_file()


def _hub_location(model: ModelName) -> tuple[str, tuple[str, ...]]:
    """Repository and acceptable weight files on the Hugging Face hub; empty if not there."""
    if model.where == "hub":
        return model.architecture.removeprefix("hf-hub:"), WEIGHT_FILES
    config = open_clip.get_pretrained_cfg(model.architecture, model.pretrained)
    repository, _, file = config.get("hf_hub", "").rpartition("/")
    return repository, (file,) if file else WEIGHT_FILES


def _host(model: ModelName) -> str:
    if _hub_location(model)[0]:
        return str(huggingface_hub.constants.ENDPOINT)
    parts = urlsplit(open_clip.get_pretrained_url(model.architecture, model.pretrained))
    return f"{parts.scheme}://{parts.netloc}"
