"""A dataset's features as one safetensors file: https://github.com/huggingface/safetensors.

Tensors `image_features [n, d]`, `labels [n]` int64, `image_sha256 [n, 32]` uint8 and, where known,
`text_features [c, d]`, `splits [n]` int8, `logit_scale [1]` float64, `views [v, n, d]`, and the
paths as `paths_utf8 [bytes]` uint8 cut at `paths_ends [n]` int64. Metadata: `format`, `version`,
`class_names` and `split_names` as JSON lists, `source`, and whatever the writer described.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from feature_cache.errors import NewerFormatError
from feature_cache.exchange.arrays import MAX_BYTES
from feature_cache.exchange.atomic_write import place_file, refuse_existing
from feature_cache.exchange.checks import SPLITS, as_matrix
from feature_cache.exchange.damage import damage_named
from feature_cache.exchange.errors import (
    ForeignFileError,
    InvalidForeignFeaturesError,
    MissingArrayError,
    OversizedFileError,
)
from feature_cache.exchange.labelled_features import FoundArrays, LabelledFeatures, take_in
from feature_cache.vectors import Features

_FORMAT = "clip-adapter.features"
_VERSION = 1
_OWN_KEYS = {"format", "version", "class_names", "split_names", "source"}
_TYPES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "|i1": "I8", "|u1": "U8"}
"""What the tensors of this format may be, as numpy and as safetensors call it."""


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """What one file holds.

    Attributes:
        features: The features of view 0 and all that is known about their rows.
        views: `[v, n, d]`, the features of the training views 1 to v of the same n images, in the
            precision of `features`; None when there are none.
        description: What made them, e.g. `dataset`, `encoder`, `model`; text only.
    """

    features: LabelledFeatures
    views: Features | None = None
    description: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        source = self.features.source
        taken = sorted(_OWN_KEYS & set(self.description))
        if taken:
            raise InvalidForeignFeaturesError(
                source, f"the description has {taken[0]!r}, which the format uses: rename it"
            )
        if self.views is not None:
            _check_views(self.views, self.features)


def write_safetensors(path: Path, content: FeatureFile, *, overwrite: bool = False) -> Path:
    """Write one file and return its path; it is there completely or not at all.

    The same content makes the same bytes, which stand in memory once more while they are written.

    Raises:
        ExistingExportError: The file exists.
        OSError: The disk refused; nothing is left behind.
    """
    refuse_existing(path, overwrite=overwrite)
    features = content.features
    metadata = dict(content.description) | {
        "format": _FORMAT,
        "version": str(_VERSION),
        "class_names": json.dumps(features.class_names),
        "split_names": json.dumps(SPLITS),
        "source": features.source,
    }
    return place_file(path, _serialised(_tensors(content), metadata), overwrite=overwrite)


def read_safetensors(path: Path, *, max_bytes: int = MAX_BYTES) -> FeatureFile:
    """Read a file that `write_safetensors` wrote.

    Raises:
        NewerFormatError: A later version of the format; upgrade to read it.
        MissingArrayError: A tensor or an entry of the metadata is not there.
        OversizedFileError: The file is larger than `max_bytes`.
        ForeignFileError: Damaged, another format, or not labelled features.
    """
    if not path.is_file():
        raise ForeignFileError(path, "it is not there, or no regular file: check the path")
    if path.stat().st_size > max_bytes:
        raise OversizedFileError(
            path, f"it has {path.stat().st_size:,} bytes, at most {max_bytes:,} are taken"
        )
    with damage_named(path):
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = _checked_metadata(path, file.metadata() or {})
                tensors = {name: _tensor(path, file, name) for name in sorted(file.keys())}
        except SafetensorError as error:
            raise ForeignFileError(path, f"it is damaged ({error}): copy it again") from error
        return _feature_file(path, tensors, metadata)


def _check_views(views: Features, features: LabelledFeatures) -> None:
    expected = (len(features), features.dim)
    if views.ndim != 3 or views.shape[1:] != expected or views.dtype != features.features.dtype:
        raise InvalidForeignFeaturesError(
            features.source,
            f"views are {views.dtype} of shape {list(views.shape)}, expected "
            f"{features.features.dtype} [v, {expected[0]}, {expected[1]}]: all views of all images",
        )
    as_matrix(views.reshape(-1, features.dim), "views", features.source)


def _tensors(content: FeatureFile) -> dict[str, npt.NDArray[Any]]:
    features = content.features
    digests = np.frombuffer(b"".join(features.image_sha256), np.uint8)
    tensors: dict[str, Any] = {
        "image_features": features.features,
        "labels": features.labels,
        "image_sha256": digests.reshape(-1, 32),
        "text_features": features.text_features,
        "views": content.views,
    }
    if features.splits is not None:
        tensors["splits"] = np.array([SPLITS.index(each) for each in features.splits], np.int8)
    if features.logit_scale is not None:
        tensors["logit_scale"] = np.array([features.logit_scale])
    if features.paths is not None:
        encoded = [each.encode() for each in features.paths]
        tensors["paths_utf8"] = np.frombuffer(b"".join(encoded), np.uint8)
        tensors["paths_ends"] = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _serialised(tensors: dict[str, npt.NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """The file as the format describes it; the library's own writer shuffles the metadata."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    contents, end = [], 0
    # Wide elements first, so that each tensor begins where its elements are aligned.
    for name, tensor in sorted(tensors.items(), key=lambda each: (-each[1].itemsize, each[0])):
        little = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))
        begin, end = end, end + little.nbytes
        kind, shape = _TYPES[little.dtype.str], list(little.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        contents.append(little.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *contents])


def _checked_metadata(path: Path, metadata: dict[str, str]) -> dict[str, str]:
    version = metadata.get("version", "")
    if metadata.get("format") != _FORMAT or not version.isdecimal():
        raise ForeignFileError(
            path,
            f"its metadata declare format {metadata.get('format')!r:.80}, expected {_FORMAT!r}: "
            "save the arrays as .npz to import them",
        )
    if int(version) > _VERSION:
        raise NewerFormatError(path, int(version), _VERSION)
    lacking = sorted(_OWN_KEYS - set(metadata))
    if lacking:
        raise MissingArrayError(path, f"its metadata lack {lacking}: write it anew")
    return metadata


def _tensor(path: Path, file: Any, name: str) -> npt.NDArray[Any]:
    kind = file.get_slice(name).get_dtype()
    if kind not in _TYPES.values():
        expected = ", ".join(_TYPES.values())
        raise ForeignFileError(
            path, f"tensor {name!r:.80} is {kind}, expected one of {expected}: convert it"
        )
    tensor: npt.NDArray[Any] = file.get_tensor(name)
    return tensor


def _feature_file(
    path: Path, tensors: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> FeatureFile:
    lacking = {"image_features", "labels", "image_sha256"} - set(tensors)
    if lacking:
        raise MissingArrayError(path, f"it has no tensor {sorted(lacking)}: write it anew")
    found = FoundArrays(
        features=tensors["image_features"],
        labels=tensors["labels"],
        class_names=_names(path, metadata, "class_names"),
        splits=_splits(path, tensors.get("splits"), metadata),
        image_sha256=tensors["image_sha256"],
        paths=_paths(path, tensors),
        text_features=tensors.get("text_features"),
        logit_scale=tensors.get("logit_scale"),
    )
    description = {key: value for key, value in metadata.items() if key not in _OWN_KEYS}
    features = take_in(found, source=metadata["source"])
    return FeatureFile(features, tensors.get("views"), description)


def _names(path: Path, metadata: dict[str, str], key: str) -> list[str]:
    names = json.loads(metadata[key])
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise ForeignFileError(path, f"{key} in its metadata is no list of text: write it anew")
    return names


def _splits(
    path: Path, numbers: npt.NDArray[Any] | None, metadata: dict[str, str]
) -> list[str] | None:
    if numbers is None:
        return None
    names = _names(path, metadata, "split_names")
    sound = numbers.ndim == 1 and numbers.dtype == np.int8
    if not sound or not ((numbers >= 0) & (numbers < len(names))).all():
        raise ForeignFileError(path, "splits do not index split_names: write it anew")
    return [names[number] for number in numbers]


def _paths(path: Path, tensors: dict[str, npt.NDArray[Any]]) -> list[bytes] | None:
    if "paths_ends" not in tensors:
        return None
    ends, raw = tensors["paths_ends"], tensors.get("paths_utf8", np.empty(0, np.uint8)).tobytes()
    sound = ends.ndim == 1 and ends.dtype == np.int64 and ends.size and ends[-1] == len(raw)
    if not sound or (np.diff(ends, prepend=0) < 0).any():
        raise ForeignFileError(path, "paths_ends do not cut paths_utf8: write it anew")
    starts = [0, *ends[:-1].tolist()]
    return [raw[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
