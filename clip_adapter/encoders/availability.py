"""Everything a model needs, known before anything is downloaded or allocated.

These are packages, files that are on this machine or can be downloaded within seconds, and memory.
"""

import http.client
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from clip_adapter.encoders.model_sizes import check_sizes, section_of
from clip_adapter.encoders.names import CONFIG_FILE, HF_HUB, LOCAL_DIR, ModelName
from clip_adapter.errors import EncoderError, NoNetworkError
from clip_adapter.proxies import (
    explain_proxies,
    proxies_without_client,
    proxy_of,
    unusable_proxies,
)

HUB = "https://huggingface.co"
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
TOKENIZER_FILES = (
    "tokenizer.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
)
"""Files of which transformers needs one, with the vocabulary of a tokenizer."""


class ReachabilityCheck:
    """A request to a host that runs in the background from the moment the check is made.

    A name server that is out of reach blocks for longer than any timeout of urllib, so a daemon
    thread sends the request. It takes the proxy of the environment, ALL_PROXY included.

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
        proxy = proxy_of(url)
        if proxy.startswith("socks"):  # urllib cannot speak to it: its own answer has to do
            parts = urlsplit(proxy)
            socket.create_connection((parts.hostname, parts.port or 1080), timeout=seconds).close()
            return True
        handler = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {})
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # http(s), from open_clip's table or the user's setting
        urllib.request.build_opener(handler).open(request, timeout=seconds).close()
    except urllib.error.HTTPError:
        return True  # an error is an answer, too
    except (OSError, ValueError, http.client.HTTPException):
        return False  # no host, no URL, or no HTTP
    return True


def check_available(model: ModelName, *, check: ReachabilityCheck | None = None) -> bool:
    """Raise if a model lacks a package, files that cannot be downloaded, or the memory it takes.

    Without a network open_clip and transformers retry for most of a minute; this asks the host once,
    for at most four seconds. Of a model of the hub the configuration is downloaded, a small file.

    Args:
        model: the model to load.
        check: a check of the host that was started earlier.

    Returns:
        Whether the hub is to be asked for files; if False, all that loading needs is on this
        machine or at an address outside the hub, and `hub_offline` spares it the retries.

    Raises:
        NoNetworkError: the host does not answer; the message names it and the alternatives.
        EncoderError: a package is missing, the configuration cannot be read or describes a model
            that fits neither its weights nor this machine.
    """
    hub = _Hub(check)
    config = _model_config(model, hub)
    _check_packages(model, config)
    check_sizes(model, config)
    needs = [*_weights(model), *_text_files(model, config)]
    for need in needs:
        if not need.is_here():
            hub.require(model, need)
    return any(need.repository for need in needs) and hub.is_reachable()


@contextmanager
def hub_offline(*, offline: bool) -> Iterator[None]:
    """Let huggingface_hub and transformers read their cache only, without asking file by file.

    Offline, a proxy with which their client cannot even be made is hidden from it.
    """
    from huggingface_hub import constants

    before, hidden = constants.HF_HUB_OFFLINE, unusable_proxies(os.environ) if offline else {}
    constants.HF_HUB_OFFLINE = before or offline
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        os.environ.update(hidden)


class _Need(NamedTuple):
    """Files of a model, one of which suffices: in a repository of the hub, or at a URL."""

    what: str
    repository: str
    files: tuple[str, ...]
    url: str = ""

    def is_here(self) -> bool:
        from huggingface_hub import try_to_load_from_cache

        if self.url:
            file = Path("~/.cache/clip").expanduser() / self.url.rpartition("/")[2]
            return file.is_file()
        try:
            return any(
                isinstance(try_to_load_from_cache(self.repository, file), str)
                for file in self.files
            )
        except ValueError as error:
            raise EncoderError(f"{self.what}: {' '.join(str(error).split())}") from error


class _Hub:
    """The Hugging Face hub, asked at most once whether it answers."""

    def __init__(self, check: ReachabilityCheck | None) -> None:
        from huggingface_hub import constants

        self.url = str(constants.ENDPOINT)
        self.is_offline: bool = constants.HF_HUB_OFFLINE
        self._check = check if check is not None and check.url == self.url else None

    def is_reachable(self) -> bool:
        if self.is_offline or proxies_without_client():
            return False
        self._check = self._check or ReachabilityCheck(self.url)
        return self._check.is_reachable()

    def require(self, model: ModelName, need: _Need) -> None:
        """Raise if the host of these files does not answer."""
        parts = urlsplit(need.url)
        host = f"{parts.scheme}://{parts.netloc}" if need.url else self.url
        if ReachabilityCheck(host).is_reachable() if need.url else self.is_reachable():
            return
        raise NoNetworkError(
            f"model {model.name!r}: {need.what} not on this machine and {self._reason(host)}: "
            f"{_alternatives(need)}"
        )

    def _reason(self, host: str) -> str:
        if host == self.url and self.is_offline:
            return "HF_HUB_OFFLINE forbids to download"
        if host == self.url and (unusable := proxies_without_client()):
            return explain_proxies(unusable)
        proxy = proxy_of(host).rpartition("@")[2].rpartition("://")[2]
        return f"{host} does not answer{f' through the proxy {proxy}' if proxy else ''}"


def _alternatives(need: _Need) -> str:
    if need.what.startswith("its weights are"):
        return (
            "connect to the network, give a local folder (local-dir:FOLDER) or checkpoint "
            "(ARCHITECTURE:PATH), or use the built-in model 'glyphs', a small encoder that has seen "
            "printed characters only"
        )
    return (
        f"connect to the network once, or give local-dir:FOLDER, a folder with {CONFIG_FILE}, the "
        f"weights and the files of {need.repository}"
    )


def _weights(model: ModelName) -> list[_Need]:
    what = "its weights are"
    if model.where == "hub":
        return [_Need(what, model.architecture.removeprefix(HF_HUB), WEIGHT_FILES)]
    if model.where != "tag":
        return []
    import open_clip

    config = open_clip.get_pretrained_cfg(model.architecture, model.pretrained)
    repository, _, file = config.get("hf_hub", "").rpartition("/")
    if repository:
        return [_Need(what, repository, (file,) if file else WEIGHT_FILES)]
    url: str = open_clip.get_pretrained_url(model.architecture, model.pretrained)
    return [_Need(what, "", (), url)]


def _text_files(model: ModelName, config: Any) -> list[_Need]:
    """The files of the text tower that transformers reads beside the weights."""
    text = section_of(config, "text_cfg")
    tower, tokenizer = text.get("hf_model_name"), text.get("hf_tokenizer_name")
    needs = []
    if isinstance(tower, str) and tower and not Path(tower).is_dir():
        needs.append(_Need(f"the configuration of {tower} is", tower, ("config.json",)))
    if model.where == "folder":  # open_clip takes the tokenizer from the folder, whatever its name
        folder = Path(model.architecture.removeprefix(LOCAL_DIR))
        if tokenizer and not any((folder / file).is_file() for file in TOKENIZER_FILES):
            raise EncoderError(
                f"model {model.name!r}: no tokenizer in {folder}; expected the files of {tokenizer} "
                f"there, of which one is {', '.join(TOKENIZER_FILES[:-1])} or {TOKENIZER_FILES[-1]}"
            )
    elif isinstance(tokenizer, str) and tokenizer and not Path(tokenizer).is_dir():
        needs.append(_Need(f"its tokenizer {tokenizer} is", tokenizer, TOKENIZER_FILES))
    return needs


def _model_config(model: ModelName, hub: _Hub) -> Any:
    """open_clip's configuration of the model; None where loading has to say what is wrong with it."""
    if model.where in {"tag", "checkpoint"}:
        import open_clip

        return open_clip.get_model_config(model.architecture)
    if model.where == "hub":
        file = _config_of_hub(model, hub)
    else:
        folder = Path(model.architecture.removeprefix(LOCAL_DIR))
        file = folder / CONFIG_FILE
        if not file.is_file():
            return _config_of_transformers(folder)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config.get("model_cfg") if isinstance(config, dict) else None


def _config_of_transformers(folder: Path) -> Any:
    """open_clip's configuration of transformers' CLIP; a SigLIP's sizes are those of its weights."""
    from clip_adapter.encoders.transformers_weights import clip_config, read_config

    with suppress(
        EncoderError, ArithmeticError, AttributeError, RecursionError, TypeError, ValueError
    ):
        config = read_config(folder)
        return clip_config(config) if config and config["model_type"] == "clip" else None
    return None


def _config_of_hub(model: ModelName, hub: _Hub) -> Path:
    from huggingface_hub import hf_hub_download

    repository = model.architecture.removeprefix(HF_HUB)
    need = _Need("its weights are", repository, (CONFIG_FILE,))
    if not need.is_here():
        hub.require(model, need)
    with hub_offline(offline=not hub.is_reachable()):
        try:
            return Path(hf_hub_download(repository, CONFIG_FILE))
        except Exception as error:  # the hub's client has dozens of errors, of several bases
            reason = next(iter(str(error).split("\n")), "") or type(error).__name__
            raise EncoderError(
                f"model {model.name!r}: no {CONFIG_FILE} could be read from {repository} at {hub.url}: "
                f"{reason}"
            ) from error


def _check_packages(model: ModelName, config: Any) -> None:
    text, trunk = (
        section_of(config, "text_cfg"),
        section_of(config, "vision_cfg").get("timm_model_name"),
    )
    needed = text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if needed and find_spec("transformers") is None:
        part = "text tower" if text.get("hf_model_name") else "tokenizer"
        raise EncoderError(
            f"model {model.name!r} needs the package transformers for its {part} {needed}: "
            "pip install 'clip-adapter[hf]'"
        )
    if trunk:
        import timm

        if not (isinstance(trunk, str) and timm.is_model(trunk)):
            raise EncoderError(
                f"model {model.name!r} could not be loaded: timm {timm.__version__} has no image "
                f"tower {trunk!r}: pip install --upgrade timm"
            )
