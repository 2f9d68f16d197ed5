"""A key of an encoder that is computed from files alone, without loading the model or torch."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from clip_adapter import images
from clip_adapter.encoders.fingerprint import canonical_json, format_version_of
from clip_adapter.encoders.model_settings import PROCESSOR_FILES
from clip_adapter.encoders.names import (
    BUILT_IN,
    CONFIG_FILE,
    HF_HUB,
    LOCAL_DIR,
    TRANSFORMERS_CONFIG,
    parse_model_name,
)
from clip_adapter.errors import EncoderError

PACKAGES = (
    "open_clip_torch",
    "torch",
    "torchvision",
    "pillow",
    "numpy",
    "safetensors",
    "timm",
    "transformers",
    "tokenizers",
)
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pth"}
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of weight files, in the order in which open_clip looks for them."""
BESIDE_WEIGHTS = (
    CONFIG_FILE,
    TRANSFORMERS_CONFIG,
    *PROCESSOR_FILES,
    "vocab.json",
    "tokenizer.json",
)
"""Names of files beside a checkpoint that decide how it is loaded."""
ELSEWHERE = ('"hf_', "hf-hub:", "siglip", "trust_remote_code")
"""Words in a configuration or name that let open_clip read files from elsewhere."""


def weights_key(
    model: str = BUILT_IN,
    *,
    precision: str = "fp32",
    resize: str | None = None,
    preprocessing: str | None = None,
    source: str | None = None,
) -> str | None:
    """A key that two encoders share only if their fingerprints are equal; None if it is unknown.

    It covers the files of weights and configuration, what is read beside them, precision, resize
    mode and preprocessing, the versions of the packages that load, and the code of open_clip, its
    table of models, and of this package. Equal encoders may have different keys. The key of a model of the hub describes the files
    in the cache: loading may download newer ones, so compute the key to record after loading.

    Args:
        model: name in one of the forms of `parse_model_name`.
        precision: precision for `load_encoder`.
        resize: resize mode for `load_encoder`.
        preprocessing: tag for `load_encoder`.
        source: for ARCHITECTURE:TAG, the result of `weights_source` when it was loaded.
    """
    try:
        files = _files_of(model, source)
        if files is None or _reads_more(model, files):
            return None
        described = {
            "tag": model if source else "",
            "architecture": ""
            if model.startswith((LOCAL_DIR, HF_HUB))
            else model.partition(":")[0],
            "files": {name: _digest_of(file) for name, file in files.items()},
            "code": _digest_of_code(),
            "packages": {name: _version_of(name) for name in PACKAGES},
            "precision": precision,
            "resize": resize,
            "preprocessing": preprocessing,
            "format_version": format_version_of(precision),
        }
    except (EncoderError, OSError, UnicodeDecodeError):
        return None  # loading raises the error that says what is wrong
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def weights_source(model: str) -> str | None:
    """The file of the hub that a tag of open_clip stands for, as ORGANISATION/REPOSITORY/FILE.

    Imports open_clip and with it torch; call it after the model was loaded.

    Args:
        model: name in one of the forms of `parse_model_name`.

    Returns:
        None for a model that is no tag, or whose weights are not a file of the hub's cache.
    """
    import open_clip

    architecture, _, tag = model.partition(":")
    if model.startswith((LOCAL_DIR, HF_HUB)) or not open_clip.is_pretrained_cfg(architecture, tag):
        return None
    config = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, file = str(config.get("hf_hub", "")).rpartition("/")
    # Beside a file of another kind, open_clip looks for a safer one first.
    if file and not file.endswith((".safetensors", ".pt")):
        return None
    source = f"{repository}/{file or HUB_WEIGHTS[0]}"
    return source if _cached(source) else None


def _files_of(model: str, source: str | None) -> dict[str, Path] | None:
    """Configuration and weights by their names."""
    if source:
        return _of_tag(model, source)
    if model == BUILT_IN or model.startswith(LOCAL_DIR):
        return _in_folder(Path(parse_model_name(model).architecture.removeprefix(LOCAL_DIR)))
    if model.startswith(HF_HUB):
        return _in_hub_cache(parse_model_name(model).architecture.removeprefix(HF_HUB))
    return _beside_architecture(model)


def _in_folder(folder: Path) -> dict[str, Path]:
    """All files that open_clip may choose the weights from, which it does by their names."""
    weights = [file for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES]
    if (folder / CONFIG_FILE).is_file():
        named = [folder / name for name in (CONFIG_FILE, *PROCESSOR_FILES)]
        described = [file for file in named if file.is_file()]
        return {file.name: file for file in [*described, *sorted(weights)]}
    # transformers has its vocabulary and preprocessing in files of their own.
    found = {file.name: file for file in [*sorted(folder.glob("*.json")), *sorted(weights)]}
    return {CONFIG_FILE: folder / TRANSFORMERS_CONFIG, **found}


def _of_tag(model: str, source: str) -> dict[str, Path] | None:
    config = _open_clip() / "model_configs" / f"{model.partition(':')[0]}.json"
    weights = _cached(source)
    return {CONFIG_FILE: config, source: weights} if weights and config.is_file() else None


def _cached(source: str) -> Path | None:
    """The file in the hub's cache; its name is checked before it becomes part of a path."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+/[\w-][\w.-]*", source) or ".." in source:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(*source.rsplit("/", 1))
    return Path(found) if isinstance(found, str) else None


def _in_hub_cache(repository: str) -> dict[str, Path] | None:
    from huggingface_hub import try_to_load_from_cache

    found = {
        name: Path(path)
        for name in (CONFIG_FILE, *HUB_WEIGHTS)
        if isinstance(path := try_to_load_from_cache(repository, name), str)
    }
    # Beside a file that is missing here, open_clip may yet find one on the hub.
    return found if {CONFIG_FILE, HUB_WEIGHTS[0]} <= found.keys() else None


def _beside_architecture(model: str) -> dict[str, Path] | None:
    """The files of a local checkpoint; which file a tag stands for only open_clip knows."""
    architecture, _, name = model.partition(":")
    config = _open_clip() / "model_configs" / f"{architecture}.json"
    weights = Path(name).expanduser()
    # No tag contains a slash, so open_clip cannot take this for one.
    if "/" in architecture or "/" not in str(weights) or not weights.is_file():
        return None
    beside = [weights.with_name(name) for name in BESIDE_WEIGHTS]
    return {
        CONFIG_FILE: config,
        f"weights{weights.suffix}": weights,
        **{f"beside {file.name}": file for file in beside if file.is_file()},
    }


def _reads_more(model: str, files: dict[str, Path]) -> bool:
    text = files[CONFIG_FILE].read_text(encoding="utf-8")
    architecture = "" if model.startswith((LOCAL_DIR, HF_HUB)) else model.partition(":")[0]
    return any(word in f"{architecture} {text}".lower() for word in ELSEWHERE)


def _digest_of(file: Path) -> str:
    """Digest of the content, which is the name of a large file in the hub's cache."""
    real = file.resolve(strict=True)
    if real.parent.name == "blobs" and len(real.name) == 64:
        return real.name
    with real.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# A process computes with the code that it has imported, whatever becomes of the files.
@cache
def _digest_of_code() -> str:
    digests = [f"{file.name} {_digest_of(file)}" for file in _code()]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _code() -> Iterator[Path]:
    """Files of the code that decides a fingerprint, and open_clip's vocabulary and models."""
    for folder in (_open_clip(), Path(__file__).parent, Path(images.__file__).parent):
        yield from sorted(folder.glob("*.py"))
    yield from sorted(_open_clip().glob("*.txt.gz"))
    yield from sorted(_open_clip().glob("model_configs/*.json"))


def _open_clip() -> Path:
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise EncoderError("open_clip is not installed")
    return Path(spec.origin).parent


@cache
def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
