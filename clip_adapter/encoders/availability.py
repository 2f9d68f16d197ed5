"""Knows within seconds whether a model's weights can be had."""

import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import open_clip

from clip_adapter.encoders.errors import NoNetworkError
from clip_adapter.encoders.names import ModelName

__all__ = ["check_available"]

PROBE_SECONDS = 4.0
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


def check_available(model: ModelName) -> None:
    """Return if the weights are on this machine or their host answers.

    Without a network open_clip retries for most of a minute; this asks the host once, for at
    most four seconds.

    Raises:
        NoNetworkError: naming the host that does not answer and the ways around it.
    """
    if model.where not in {"hub", "tag"} or _is_cached(model):
        return
    host = _host(model)
    if not _answers(host):
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
        return os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    parts = urlsplit(open_clip.get_pretrained_url(model.architecture, model.pretrained))
    return f"{parts.scheme}://{parts.netloc}"


def _answers(host: str) -> bool:
    """Whether the host sends any HTTP answer in time; looking its name up counts as well."""
    answered = threading.Event()
    # A name server that is out of reach blocks for longer than any timeout of urllib's, so the
    # question is asked by a thread that nobody waits for.
    threading.Thread(target=_ask, args=(host, answered), daemon=True).start()
    return answered.wait(PROBE_SECONDS)


def _ask(host: str, answered: threading.Event) -> None:
    request = urllib.request.Request(host, method="HEAD")  # noqa: S310  # from open_clip's table
    try:
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()  # noqa: S310  # the same
    except urllib.error.HTTPError:
        pass  # an answer all the same
    except OSError:
        return
    answered.set()
