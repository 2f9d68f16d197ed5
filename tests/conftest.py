"""What every package's tests use: an isolated machine, a tiny encoder, small photos."""

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:  # the scene is set before anything of the project is imported
    from feature_cache import Location, ObjectPath

ENVIRONMENT = {
    # Tests of stores that several write to at once mean just that.
    "CLIP_ADAPTER_ENCODERS": "64",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
TINY_SIGMOID_CLIP: dict[str, Any] = {
    **TINY_CLIP,
    "custom_text": True,
    "init_logit_bias": -10,
    "text_cfg": {**TINY_CLIP["text_cfg"], "no_causal_mask": True, "pool_type": "last"},
}
"""Towers as SigLIP's: a bias on every logit, and a text tower that is read off at its last token."""
TINY_PREPROCESSING = {
    "size": 16,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}

LONGEST = {
    *("test_up_and_down.py", "test_nightly_retraining.py", "test_faults.py"),
    *("test_killed_extraction.py", "test_failing_disk.py"),
}
"""Test files of several minutes."""

PutPhotos = Callable[..., Path]


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: object
    out: str
    err: str


def set_the_scene() -> str:
    """Before Prefect or torch is imported, which read it then; returns the home of this session."""
    home = tempfile.mkdtemp(prefix="clip-adapter-tests-")
    for name in [*os.environ]:
        if name.startswith("CLIP_ADAPTER_") and name != "CLIP_ADAPTER_TEST_DATA":
            del os.environ[name]
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(ENVIRONMENT, PREFECT_HOME=home, XDG_CACHE_HOME=f"{home}/cache")
    # A background job of a shell starts with SIGINT ignored, and so would every process that a test
    # starts and then interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return home


# At import: where one package is tested alone, its conftest comes before pytest_configure.
HOME = set_the_scene()


def pytest_configure(config: pytest.Config) -> None:
    """Clear up after the session, and choose how hypothesis looks for failures."""
    config.add_cleanup(partial(shutil.rmtree, HOME, ignore_errors=True))
    # A failure that nobody can repeat teaches nothing: where a gate is run, the seed is fixed.
    hypothesis.settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
    hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first: two workers that take whole files then end at the same time."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """Look at a file in place of syncing it, which takes milliseconds some ten thousand times.

    A sync outlives a power cut, and no test brings that about; one that makes it fail replaces it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store may be made; nothing is there yet."""
    return tmp_path / "store"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a random CLIP that takes pictures of 16 pixels and loads in a tenth of a second."""
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('tiny-clip'), seed=0)}"


@pytest.fixture(scope="session")
def other_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same towers with other weights."""
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('other-tiny-clip'), seed=1)}"


@pytest.fixture(scope="session")
def tiny_sigmoid_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a random model as SigLIP's, with a logit bias of -10."""
    folder = tmp_path_factory.mktemp("tiny-sigmoid")
    return f"local-dir:{save_tiny_clip(folder, seed=0, config=TINY_SIGMOID_CLIP)}"


@pytest.fixture(scope="session")
def put_photos() -> PutPhotos:
    """Add numbered JPEGs to `folder/class`; the same number and colour make the same file."""

    def put(folder: Path, class_name: str, numbers: Iterable[int], *, colour: str = "") -> Path:
        place = folder / class_name
        place.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            photo(colour or class_name, number).save(place / f"{number:03d}.jpg", quality=90)
        return folder

    return put


@pytest.fixture
def photos(tmp_path: Path, put_photos: PutPhotos) -> Path:
    """A folder of three classes with thirty photos each."""
    for class_name in ("red", "green", "blue"):
        put_photos(tmp_path / "photos", class_name, range(30))
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new Prefect database: creating its tables takes 12 s of CPU, copying them nothing.

    All processes of pytest-xdist share one.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, database = base / "prefect-template", base / "prefect.db"
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    with (base / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            environment = os.environ | {"PREFECT_HOME": str(home)}
            subprocess.run(command, env=environment, check=True, capture_output=True)
            (home / "prefect.db").rename(database)
    return database


@pytest.fixture(scope="session")
def prefect_server(prefect_database: Path) -> Iterator[None]:
    """A Prefect server for the flows of the whole session."""
    from prefect.testing import utilities  # noqa: PLC0415  # costs seconds

    folder = tempfile.mkdtemp(prefix="clip-adapter-prefect-")
    shutil.copy(prefect_database, Path(folder) / "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch:
        # The harness makes a folder for its database, and removes it; this one has it already.
        patch.setattr(utilities, "mkdtemp", lambda: folder)
        with utilities.prefect_test_harness(server_startup_timeout=120):
            yield


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run `clip-adapter` in this process, on a wide terminal without colours."""
    from clip_adapter.cli import main  # noqa: PLC0415  # see above

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["clip-adapter", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_of_command:
            main()
        printed = capsys.readouterr()
        return Outcome(exit_of_command.value.code, printed.out, printed.err)

    return run


def photo(colour: str, number: int) -> Image.Image:
    """A noisy square of 16 pixels in which one channel stands out."""
    pixels = np.random.default_rng(number).integers(0, 128, (16, 16, 3), dtype=np.uint8)
    pixels[..., ("red", "green", "blue").index(colour)] += 127
    return Image.fromarray(pixels)


def save_tiny_clip(folder: Path, *, seed: int, config: dict[str, Any] | None = None) -> Path:
    """Random towers in open_clip's form, as `local-dir:` reads them."""
    config = config or TINY_CLIP
    import open_clip  # noqa: PLC0415  # seconds, that most tests need not spend
    import torch  # noqa: PLC0415  # the same
    from safetensors.torch import save_file  # noqa: PLC0415  # the same

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        towers = {name: value for name, value in config.items() if name != "custom_text"}
        kind = open_clip.CustomTextCLIP if "custom_text" in config else open_clip.CLIP
        model: Any = kind(**towers)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    described = {"model_cfg": config, "preprocess_cfg": TINY_PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="session")
def object_store() -> Iterator[Callable[[str], str]]:
    """An S3 server of this machine: the URL of a prefix in its bucket `bucket`, or in another."""
    import boto3  # noqa: PLC0415  # a second, that most tests need not spend
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # the same

    with pytest.MonkeyPatch.context() as patch:
        for name, value in S3_ENVIRONMENT.items():
            patch.setenv(name, value)
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # it prints every request
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="bucket")
        client.close()
        options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        yield lambda prefix: f"s3://{prefix}?{options}"
        server.stop()


@pytest.fixture
def object_root(object_store: Callable[[str], str]) -> "ObjectPath":
    """A place of its own in an object store; nothing is there yet."""
    from feature_cache import ObjectPath, locate  # noqa: PLC0415  # see above

    place = locate(object_store(f"bucket/{uuid.uuid4().hex}"))
    assert isinstance(place, ObjectPath)
    return place


@pytest.fixture(params=["folder", "object store"])
def any_root(request: pytest.FixtureRequest) -> "Location":
    """A place where a store may be made, on either kind of storage; nothing is there yet."""
    name = "root" if request.param == "folder" else "object_root"
    place: Location = request.getfixturevalue(name)
    return place
