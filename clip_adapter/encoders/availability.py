"""Checks within seconds whether a model's weights are on this machine or can be downloaded."""

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from clip_adapter.encoders.names import ModelName
from clip_adapter.errors import NoNetworkError

HUB = "https://huggingface.co"
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


class ReachabilityCheck:
    """A request to a host that runs in the background from the moment the check is made.

    A name server that is out of reach blocks for longer than any timeout of urllib, so a daemon
    thread sends the request.

    Args:
        url: address of the host.
        seconds: time after which the host counts as unreachable.
    """

    def __init__(self, url: str, *, seconds: float = 4.0) -> None:
        self.url = url
        self._deadline = time.monotonic() + seconds
        self._reachable = False
        self._done = threading.Event()
        threading.Thread(target=self._request, args=(seconds,), daemon=True).start()

    @classmethod
    def of_hub(cls) -> "ReachabilityCheck":
        """A check of the Hugging Face hub, or of the mirror that HF_ENDPOINT names."""
        return cls(os.environ.get("HF_ENDPOINT", HUB).rstrip("/"))

    def is_reachable(self) -> bool:
        """Whether the host gave any HTTP answer in the seconds since the check was made."""
        self._done.wait(max(0.0, self._deadline - time.monotonic()))
        return self._reachable

    def _request(self, seconds: float) -> None:
        self._reachable = _answers(self.url, seconds=seconds)
        self._done.set()  # so that a refusal is not waited for


def _answers(url: str, *, seconds: float) -> bool:
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # http(s), from open_clip's table or the user's setting
        urllib.request.urlopen(request, timeout=seconds).close()  # noqa: S310  # as above
    except urllib.error.HTTPError:
        return True  # an error is an answer, too
    except (OSError, ValueError, http.client.HTTPException):
        return False  # no host, no URL, or no HTTP
    return True


def check_available(model: ModelName, *, check: "ReachabilityCheck | None" = None) -> None:
    """Raise if the weights are neither on this machine nor on a host that answers.

    Without a network open_clip retries for most of a minute; this asks the host once, for at
    most four seconds.

    Args:
        model: the model to load.
        check: a check of the host that was started earlier.

    Raises:
        NoNetworkError: the host does not answer; the message names it and the alternatives.
    """
    if model.where not in {"hub", "tag"} or _is_cached(model):
        return
    host = _host(model)
    if check is None or check.url != host:
        check = ReachabilityCheck(host)
    if not check.is_reachable():
        message = (
            f"model {model.name!r} is not on this machine and {host} does not answer: connect to "
            "the network, give a local folder (local-dir:FOLDER) or checkpoint "
            "(ARCHITECTURE:PATH), or use the built-in model 'glyphs', a small encoder that has seen "
            "printed characters only"
        )
        raise NoNetworkError(message)


def _is_cached(model: ModelName) -> bool:
    import huggingface_hub
    import open_clip

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
    import open_clip

    if model.where == "hub":
        return model.architecture.removeprefix("hf-hub:"), WEIGHT_FILES
    config = open_clip.get_pretrained_cfg(model.architecture, model.pretrained)
    repository, _, file = config.get("hf_hub", "").rpartition("/")
    return repository, (file,) if file else WEIGHT_FILES


def _host(model: ModelName) -> str:
    import huggingface_hub
    import open_clip

    if _hub_location(model)[0]:
        return str(huggingface_hub.constants.ENDPOINT)
    parts = urlsplit(open_clip.get_pretrained_url(model.architecture, model.pretrained))
    return f"{parts.scheme}://{parts.netloc}"
