"""A tiny random CLIP to change, a registry that knows it, and a host that serves its weights."""

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
from fake_hub import FakeHub

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"

ChangeConfig = Callable[[Path, Callable[[dict[str, Any]], object]], None]


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a host the hub, which may be asked."""

    def use(url: str) -> None:
        constants = huggingface_hub.constants
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return use


@pytest.fixture
def hub(use_hub: Callable[[str], None], no_cache: Path) -> Iterator[FakeHub]:  # noqa: ARG001  # its cache is empty
    """A hub on loopback, which holds nothing yet."""
    with FakeHub() as hub:
        use_hub(hub.url)
        yield hub


@pytest.fixture
def tiny_folder(tiny_model: str, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder that a test may change."""
    original = Path(tiny_model.removeprefix("local-dir:"))
    return Path(shutil.copytree(original, tmp_path / "a tiny model"))


@pytest.fixture(scope="session")
def change_config() -> ChangeConfig:
    """Change the configuration in a model's folder."""

    def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
        config = json.loads((folder / CONFIG).read_text())
        edit(config)
        (folder / CONFIG).write_text(json.dumps(config))

    return change


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no model was ever downloaded."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "hub"))
    return home


@pytest.fixture
def closed_host() -> Iterator[str]:
    """A port of loopback that refuses every connection."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unheard.getsockname()[1]}"


@pytest.fixture
def weights_host(tiny_folder: Path) -> Iterator[str]:
    """A host on loopback that serves the files of the tiny model."""
    handler = partial(_SilentHandler, directory=str(tiny_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        # It looks this often whether it shall stop.
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def register(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make open_clip know the architecture `tiny`, with one tag at a URL."""

    def register(*, tag: str, url: str, quick_gelu: bool = False) -> None:
        config = json.loads((tiny_folder / CONFIG).read_text())["model_cfg"]
        configs = {**open_clip.factory._MODEL_CONFIGS, "tiny": config}
        monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
        tags = {tag: open_clip.pretrained._pcfg(url=url, quick_gelu=quick_gelu)}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", tags)

    return register


class _SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Stay silent."""
