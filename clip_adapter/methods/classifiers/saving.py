"""Classifiers as safetensors files: arrays as tensors, everything else as one line of JSON."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clip_adapter.methods.classifiers.adapter import AdapterClassifier
from clip_adapter.methods.classifiers.cache import CacheClassifier
from clip_adapter.methods.classifiers.linear import LinearClassifier
from clip_adapter.methods.classifiers.prototype import PrototypeClassifier
from clip_adapter.methods.classifiers.saved import ClassifierFileError, SavedClassifier

FORMAT = 1
KEY = "clip-adapter.classifier"
"""The one entry of the file's metadata: safetensors shuffles several."""

_KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (PrototypeClassifier, LinearClassifier, AdapterClassifier, CacheClassifier)
    }
)


def save_classifier(saved: SavedClassifier, path: Path) -> None:
    """Write a classifier; the same one gives the same bytes, and the file is whole or absent.

    Raises:
        OSError: the disk refused.
    """
    content = encode_classifier(saved)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_classifier(path: Path) -> SavedClassifier:
    """Read what `save_classifier` wrote. Nothing is unpickled.

    Raises:
        ClassifierFileError: as `decode_classifier`.
        OSError: the file cannot be read.
    """
    return decode_classifier(path.read_bytes(), source=str(path))


def encode_classifier(saved: SavedClassifier) -> bytes:
    """A classifier as the content of a safetensors file; the same one gives the same bytes.

    Raises:
        ClassifierFileError: the classifier is of a kind that `decode_classifier` does not know.
    """
    classifier: Any = saved.classifier
    if _KINDS.get(type(classifier).__name__) is not type(classifier):
        raise ClassifierFileError(
            f"a {type(classifier).__name__}, as {saved.method} makes it, cannot be saved: "
            f"expected {', '.join(_KINDS)}; let the method return one of these"
        )
    values = {field.name: getattr(classifier, field.name) for field in fields(classifier)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    told = {
        "format": FORMAT,
        "kind": type(classifier).__name__,
        "method": saved.method,
        "settings": dict(saved.settings),
        "encoder": saved.encoder,
        "values": {name: value for name, value in values.items() if name not in arrays},
    }
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    content: bytes = save(ordered, metadata={KEY: json.dumps(told, sort_keys=True)})
    return content


def decode_classifier(content: bytes, *, source: str) -> SavedClassifier:
    """What `encode_classifier` made bytes of. Nothing is unpickled.

    Args:
        content: of a safetensors file.
        source: names it in an error.

    Raises:
        ClassifierFileError: it is no safetensors file, holds no classifier, one of a newer
            format, or one whose arrays do not fit together.
    """
    try:
        tensors = load(content)
        told = _metadata(content)
        kind = _KINDS[told["kind"]]
        if told["format"] > FORMAT:
            raise ClassifierFileError(
                f"{source} is of format {told['format']}, this version reads {FORMAT}: upgrade"
            )
        return SavedClassifier(
            classifier=_build(kind, tensors, told["values"]),
            method=told["method"],
            settings=told["settings"],
            encoder=told["encoder"],
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ClassifierFileError):
            raise
        message = f"{source} holds no classifier that can be read ({error}): fit and save it again"
        raise ClassifierFileError(message) from error


def _metadata(content: bytes) -> dict[str, Any]:
    """What the header says beside the tensors, which safetensors reads from paths only."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told: dict[str, Any] = json.loads(header["__metadata__"][KEY])
    return told


def _build(kind: type[Any], tensors: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Any:
    arrays = {field.name for field in fields(kind)} - set(values)
    if arrays != set(tensors):
        message = f"it holds the arrays {sorted(tensors)}, expected {sorted(arrays)}"
        raise ClassifierFileError(message)
    plain = {
        field.name: _plain(field.type, values[field.name])
        for field in fields(kind)
        if field.name in values
    }
    classifier = kind(**tensors, **plain)
    _check_shapes(classifier, tensors)
    return classifier


def _plain(annotation: Any, value: Any) -> Any:
    if value is None and type(None) in get_args(annotation):
        return None  # pydantic knows no arrays, and an optional one that is absent needs none
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise ClassifierFileError(f"{value!r} is no {annotation}") from error


def _check_shapes(classifier: Any, tensors: Mapping[str, np.ndarray]) -> None:
    """One classification of a zero feature shows whether the arrays fit together."""
    for name, values in tensors.items():
        if values.dtype != np.float32 and name != "labels":
            raise ClassifierFileError(f"{name} is {values.dtype}, expected float32")
        if not np.isfinite(values).all():
            raise ClassifierFileError(f"{name} holds NaN or infinity")
    width = classifier.width
    try:
        scores = classifier.logits(np.zeros((1, width), dtype=np.float32))
    except RuntimeError as error:
        raise ClassifierFileError(f"its arrays do not fit together: {error}") from error
    if not np.isfinite(scores).all():
        raise ClassifierFileError("its logits are not finite numbers")
    if scores.shape[1] != len(classifier.class_names):
        raise ClassifierFileError(
            f"it gives {scores.shape[1]} logits for {len(classifier.class_names)} class names"
        )
