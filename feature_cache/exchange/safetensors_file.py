"""A dataset's features as one safetensors file: https://github.com/huggingface/safetensors.

Tensors `image_features [n, d]`, `labels [n]` int64, `image_sha256 [n, 32]` uint8 and, where known,
`text_features [c, d]`, `splits [n]` int8, `logit_scale [1]` and `logit_bias [1]` float64,
`views [v, n, d]`, and the paths as `paths_utf8 [bytes]` uint8 cut at `paths_ends [n]` int64. Metadata: `format`, `version`,
`class_names` and `split_names` as JSON lists, `source`, and the entries of the description.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from feature_cache.errors import InvalidInputError, NewerFormatError
from feature_cache.exchange.atomic_write import check_absent, write_file
from feature_cache.exchange.conversions import SPLITS
from feature_cache.exchange.errors import InvalidImportError, check_file, errors_about
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.limits import byte_limit

_FORMAT = "clip-adapter.features"
_VERSION = 1
_OWN_KEYS = {"format", "version", "class_names", "split_names", "source"}
# Element types of the format, as numpy and as safetensors name them.
_TYPES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "|i1": "I8", "|u1": "U8"}


def write_safetensors(path: Path, features: LabelledFeatures, *, overwrite: bool = False) -> Path:
    """Write labelled features to one file and return its path.

    Equal features make equal bytes. They are in memory twice while they are written.

    Raises:
        InvalidInputError: the file exists, or the description has a key that the format uses.
        OSError: the disk is full or fails; nothing is left behind.
    """
    check_absent(path, overwrite=overwrite)
    reserved = sorted(_OWN_KEYS & set(features.description))
    if reserved:
        raise InvalidInputError(
            f"the description has {reserved[0]!r}, which the format uses: rename it"
        )
    metadata = dict(features.description) | {
        "format": _FORMAT,
        "version": str(_VERSION),
        "class_names": json.dumps(features.class_names),
        "split_names": json.dumps(SPLITS),
        "source": features.source,
    }
    return write_file(path, _serialize(_tensors(features), metadata), overwrite=overwrite)


def read_safetensors(path: Path, *, max_bytes: int | None = None) -> LabelledFeatures:
    """Read a file that `write_safetensors` wrote.

    Raises:
        NewerFormatError: a later version of the format; upgrade to read it.
        InvalidImportError: the file is damaged, incomplete, of another format or larger than
            `max_bytes` (what fits into memory by default), or does not contain labelled features.
    """
    check_file(path, max_bytes=byte_limit(max_bytes))
    with errors_about(path):
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = _checked_metadata(path, file.metadata() or {})
                tensors = {name: _tensor(path, file, name) for name in sorted(file.keys())}
        except SafetensorError as error:
            raise InvalidImportError(path, f"it is damaged ({error}): copy it again") from error
        return _labelled_features(path, tensors, metadata)


def _tensors(features: LabelledFeatures) -> dict[str, npt.NDArray[Any]]:
    digests = np.frombuffer(b"".join(features.image_sha256), np.uint8)
    tensors: dict[str, Any] = {
        "image_features": features.features,
        "labels": features.labels,
        "image_sha256": digests.reshape(-1, 32),
        "text_features": features.text_features,
        "views": features.views,
    }
    if features.splits is not None:
        tensors["splits"] = np.array([SPLITS.index(each) for each in features.splits], np.int8)
    for name in ("logit_scale", "logit_bias"):
        if (number := getattr(features, name)) is not None:
            tensors[name] = np.array([number])
    if features.paths is not None:
        encoded = [each.encode() for each in features.paths]
        tensors["paths_utf8"] = np.frombuffer(b"".join(encoded), np.uint8)
        tensors["paths_ends"] = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _serialize(tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The file's bytes; the library's own writer orders metadata at random."""
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
        raise InvalidImportError(
            path,
            f"its metadata declare format {metadata.get('format')!r:.80}, expected {_FORMAT!r}: "
            "save the arrays as .npz to import them",
        )
    if int(version) > _VERSION:
        raise NewerFormatError(
            f"{path} is written in format {version}, this program reads up to format {_VERSION}: "
            "upgrade clip-adapter to read it"
        )
    missing = sorted(_OWN_KEYS - set(metadata))
    if missing:
        raise InvalidImportError(path, f"its metadata lack {missing}: write it anew")
    return metadata


def _tensor(path: Path, file: Any, name: str) -> npt.NDArray[Any]:
    kind = file.get_slice(name).get_dtype()
    if kind not in _TYPES.values():
        expected = ", ".join(_TYPES.values())
        raise InvalidImportError(
            path, f"tensor {name!r:.80} is {kind}, expected one of {expected}: convert it"
        )
    tensor: npt.NDArray[Any] = file.get_tensor(name)
    return tensor


def _labelled_features(
    path: Path, tensors: dict[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> LabelledFeatures:
    missing = {"image_features", "labels", "image_sha256"} - set(tensors)
    if missing:
        raise InvalidImportError(path, f"it has no tensor {sorted(missing)}: write it anew")
    return LabelledFeatures.from_arrays(
        source=metadata["source"],
        features=tensors["image_features"],
        labels=tensors["labels"],
        class_names=_names(path, metadata, "class_names"),
        splits=_splits(path, tensors.get("splits"), metadata),
        image_sha256=tensors["image_sha256"],
        paths=_paths(path, tensors),
        text_features=tensors.get("text_features"),
        logit_scale=tensors.get("logit_scale"),
        logit_bias=tensors.get("logit_bias"),
        views=tensors.get("views"),
        description={key: text for key, text in metadata.items() if key not in _OWN_KEYS},
    )


def _names(path: Path, metadata: dict[str, str], key: str) -> list[str]:
    names = json.loads(metadata[key])
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise InvalidImportError(path, f"{key} in its metadata is no list of text: write it anew")
    return names


def _splits(
    path: Path, numbers: npt.NDArray[Any] | None, metadata: dict[str, str]
) -> list[str] | None:
    if numbers is None:
        return None
    names = _names(path, metadata, "split_names")
    well_formed = numbers.ndim == 1 and numbers.dtype == np.int8
    if not well_formed or not ((numbers >= 0) & (numbers < len(names))).all():
        raise InvalidImportError(path, "splits do not index split_names: write it anew")
    return [names[number] for number in numbers]


def _paths(path: Path, tensors: dict[str, npt.NDArray[Any]]) -> list[bytes] | None:
    if "paths_ends" not in tensors:
        return None
    ends, raw = tensors["paths_ends"], tensors.get("paths_utf8", np.empty(0, np.uint8)).tobytes()
    well_formed = ends.ndim == 1 and ends.dtype == np.int64 and ends.size and ends[-1] == len(raw)
    if not well_formed or (np.diff(ends, prepend=0) < 0).any():
        raise InvalidImportError(path, "paths_ends do not cut paths_utf8: write it anew")
    starts = [0, *ends[:-1].tolist()]
    return [raw[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
