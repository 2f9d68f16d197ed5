"""Files of an exported folder, in the form in which the Hugging Face hub expects a model."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_adapter.encoders import HF_HUB, LOCAL_DIR
from clip_adapter.errors import UnavailableError
from clip_adapter.images import Geometry
from clip_adapter.methods import SavedClassifier, encode_classifier

if TYPE_CHECKING:
    from clip_adapter.encoders.preprocessing import Preprocessing

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
HEAD_FILE, MODEL_FILE = "head.onnx", "model.onnx"
CARD_FILE, SCRIPT_FILE = "README.md", "classify.py"
PROCESSOR_FILE = "preprocessor_config.json"
WRITTEN_FILES = frozenset(
    {
        *(WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, SCRIPT_FILE, PROCESSOR_FILE),
        *(HEAD_FILE, f"{HEAD_FILE}.data", MODEL_FILE, f"{MODEL_FILE}.data"),
    }
)
"""Names of all files that an export can write."""
LOCAL_MODEL = "a local model"
"""Beginning of the public name of a model from a folder or file of this machine; the name of no
built-in or published model has spaces."""
OPSETS = range(18, 24)
"""Versions of ONNX's operators that torch's exporter writes and onnxruntime runs."""
DEFAULT_OPSET = 20
MODEL_TYPE = "clip-adapter"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
BICUBIC = 3
"""Number of Pillow's bicubic filter, as transformers writes it; 2 is bilinear."""


def check_packages() -> None:
    """Return if the packages of the extra `export` are installed.

    Raises:
        UnavailableError: one is not.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"an export needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}, not installed "
            "here: pip install 'clip-adapter[export]'"
        )


def public_name(model: str) -> str:
    """The name of a model without a path of this machine.

    A model of a folder or file gets a name that no built-in or published model can have, so that it
    is not taken for one of them, however its folder is called.

    >>> public_name("local-dir:/home/me/glyphs"), public_name("ViT-B-32:/home/me/openai")
    ('a local model (glyphs)', 'a local model (ViT-B-32:openai)')
    >>> public_name("ViT-B-32:openai"), public_name("hf-hub:laion/a-model")
    ('ViT-B-32:openai', 'hf-hub:laion/a-model')
    """
    if model.startswith(HF_HUB):
        return model
    if model.startswith(LOCAL_DIR):
        folder = _last_part(model.removeprefix(LOCAL_DIR))
        return f"{LOCAL_MODEL} ({folder})" if folder else LOCAL_MODEL
    architecture, colon, weights = model.partition(":")
    shown = f"{_last_part(architecture)}{colon}{_last_part(weights)}"
    is_path = shown != model or "." in weights  # no published weights have a suffix
    if not is_path or (shown == model and is_local(model)):
        return model
    return f"{LOCAL_MODEL} ({shown})" if shown else LOCAL_MODEL


def is_local(name: str) -> bool:
    """Whether a public name is that of a model from a folder or file."""
    return name.startswith(LOCAL_MODEL)


def public_classifier(saved: SavedClassifier) -> SavedClassifier:
    """The classifier with the encoder named by its `public_name`.

    The licence of a local model is not known, whatever the model is called.
    """
    if saved.metadata is None:
        return saved
    encoder = saved.metadata.encoder
    name = public_name(encoder.model)
    licence = None if is_local(name) else encoder.licence
    named = encoder.model_copy(update={"model": name, "licence": licence})
    return replace(saved, metadata=saved.metadata.model_copy(update={"encoder": named}))


def preprocessing_settings(preprocessing: "Preprocessing") -> dict[str, Any]:
    """The preprocessing as the script reads it from config.json."""
    geometry = preprocessing.geometry
    return {
        "size": list(geometry.size),
        "resize_mode": geometry.resize_mode,
        "interpolation": _interpolation(geometry),
        "fill_color": geometry.fill_color,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def write_files(
    folder: Path,
    saved: SavedClassifier,
    *,
    preprocessing: "Preprocessing | None",
    card: str,
    checked: Mapping[str, Any],
) -> None:
    """Write everything but the graphs.

    Args:
        folder: an existing folder.
        saved: classifier whose encoder has its public name.
        preprocessing: preprocessing of the encoder; None if the encoder is not exported.
        card: model card.
        checked: how the graphs were compared with PyTorch.
    """
    (folder / WEIGHTS_FILE).write_bytes(encode_classifier(saved))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    config = _config(saved, preprocessing, checked)
    _write_json(folder / CONFIG_FILE, config)
    script = "classify_features.py" if preprocessing is None else "classify.py"
    (folder / SCRIPT_FILE).write_bytes((Path(__file__).parent / script).read_bytes())
    if preprocessing is not None and (processor := _processor(preprocessing)):
        _write_json(folder / PROCESSOR_FILE, processor)


def is_export(folder: Path) -> bool:
    """Whether a folder was written by an export, so that another may replace it."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def foreign_file(folder: Path) -> str | None:
    """The first name in a folder, by the alphabet, that is no file of an export; None if all are."""
    names = (
        path.name
        for path in folder.iterdir()
        if path.name not in WRITTEN_FILES or not path.is_file()
    )
    return min(names, default=None)


def _config(
    saved: SavedClassifier, preprocessing: "Preprocessing | None", checked: Mapping[str, Any]
) -> dict[str, Any]:
    described = saved.metadata
    encoder = described.encoder if described else None
    names = list(saved.classifier.class_names)
    config = {
        "model_type": MODEL_TYPE,
        "class_names": names,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "method": saved.method,
        "settings": dict(saved.settings),
        "temperature": (described and described.temperature) or 1.0,
        "logit_bias": saved.logit_bias,
        "feature_width": saved.classifier.width,
        "encoder": {
            "name": encoder.model if encoder else None,
            "fingerprint": saved.encoder or None,
            "precision": encoder.precision if encoder else None,
            "licence": encoder.licence if encoder else None,
        },
        "version": described.version if described else None,
        "checked": dict(checked),
    }
    if preprocessing is not None:
        config["preprocessing"] = preprocessing_settings(preprocessing)
    return config


def _processor(preprocessing: "Preprocessing") -> dict[str, Any] | None:
    """Settings of transformers' CLIPImageProcessor; None where it cannot do the same."""
    geometry = preprocessing.geometry
    (height, width), mode = geometry.size, geometry.resize_mode
    if mode == "longest" or (mode == "shortest" and height != width):
        return None
    size = {"height": height, "width": width}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": height} if mode == "shortest" else size,
        "resample": BICUBIC if _interpolation(geometry) == "bicubic" else 2,
        "do_center_crop": mode == "shortest",
        "crop_size": size,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def _interpolation(geometry: Geometry) -> str:
    """The filter that `Geometry` takes: bicubic for a rectangle whose short side is resized."""
    height, width = geometry.size
    is_rectangle = geometry.resize_mode == "shortest" and height != width
    return "bilinear" if geometry.interpolation == "bilinear" and not is_rectangle else "bicubic"


def _last_part(path: str) -> str:
    """The last part of a path of any system; other text is unchanged."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", "~"}]
    return parts[-1] if parts else ""


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=lambda number: number.item())
    path.write_text(text + "\n", encoding="utf-8")
