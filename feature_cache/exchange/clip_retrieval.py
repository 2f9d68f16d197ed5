"""The folder that clip-retrieval's inference writes, read and written.

`img_emb/img_emb_<k>.npy` (float16, each row of norm 1), `metadata/metadata_<k>.parquet` (one row
an image: `image_path`, `caption`, and what img2dataset recorded, as `url`, `key`, `sha256`) and,
where there were captions, `text_emb/text_emb_<k>.npy` (one row a caption). The numbers are padded
with zeros to the width of the number of partitions. Source:
https://github.com/rom1504/clip-retrieval, clip_retrieval/clip_inference/writer.py and mapper.py.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache.errors import InvalidInputError
from feature_cache.exchange.atomic_write import new_folder, write_file
from feature_cache.exchange.conversions import Names, as_matrix, resolve_names
from feature_cache.exchange.errors import InvalidImportError, check_file, errors_about
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.limits import byte_limit
from feature_cache.exchange.npy import map_npy, npy_bytes
from feature_cache.feature_table import Features

COLUMN_NAMES: Names = MappingProxyType(
    {
        "label": "label",
        "class_name": "class_name",
        "split": "split",
        "image_path": "image_path",
        "sha256": "sha256",
    }
)
"""Usual columns of the metadata by role. One of a usual name may be absent, another may not.

img2dataset's `sha256` is that of the file as it was downloaded, before img2dataset resized it.
"""

_SUFFIXES = {"img_emb": ".npy", "text_emb": ".npy", "metadata": ".parquet"}
# A caption that is normalised in half precision and encoded in another batch differs by less.
_SAME_TEXT = 2e-3


def read_clip_retrieval(
    folder: Path,
    *,
    names: Names = COLUMN_NAMES,
    class_names: Sequence[str] | None = None,
    class_from_folder: bool = False,
    text_by_class: bool = False,
    max_bytes: int | None = None,
) -> LabelledFeatures:
    """Read a folder that clip-retrieval, or `write_clip_retrieval`, wrote.

    Args:
        folder: the folder that contains `img_emb`.
        names: other columns than those of `COLUMN_NAMES`, by role.
        class_names: names in the order of the labels; by default those of the metadata, sorted
            where no integers number them.
        class_from_folder: without a label or class name, use the name of the image's folder.
        text_by_class: use `text_emb` as text features of the classes, for which the rows of one
            class must be alike. Otherwise it stays unread: clip-retrieval writes one caption an
            image.
        max_bytes: limit of the shards of each sort, and of each metadata file; what fits into
            memory by default.

    Raises:
        InvalidImportError: a shard, its metadata, labels or a named column is missing; a file is
            damaged, pickled or too large; or the folder does not contain labelled features.
    """
    source = folder.resolve().name
    resolved = resolve_names(names, COLUMN_NAMES, folder)
    max_bytes = byte_limit(max_bytes)
    with errors_about(folder):
        shards = _map_shards(_find_shards(folder, "img_emb"), max_bytes)
        rows = [len(shard) for shard in shards]
        columns = _read_metadata(_find_shards(folder, "metadata"), rows, resolved, max_bytes)
        row_names = columns.get("class_name")
        if class_from_folder and not {"label", "class_name"} & set(columns):
            row_names = _folder_names(columns.get("image_path"), source)
        found = LabelledFeatures.from_arrays(
            source=source,
            features=_join_shards(shards),
            labels=columns.get("label"),
            row_names=row_names,
            class_names=class_names,
            splits=columns.get("split"),
            image_sha256=columns.get("sha256"),
            paths=columns.get("image_path"),
        )
        if not text_by_class:
            return found
        texts = _join_shards(_map_shards(_find_shards(folder, "text_emb"), max_bytes))
        return replace(found, text_features=_class_texts(found, texts, folder / "text_emb"))


def write_clip_retrieval(
    folder: Path,
    features: LabelledFeatures,
    *,
    keep_precision: bool = False,
    rows_per_shard: int = 100_000,
    overwrite: bool = False,
) -> Path:
    """Write the folder, completely or not at all, and return it.

    Each image has its path, label and class name and, where known, its split and digest. Text
    features are written as clip-retrieval does it: `text_emb` has the row of its class for each
    image, and `caption` the class name. The logit scale and bias and classes without rows are
    left out.

    Args:
        folder: the folder to make.
        features: what to write.
        keep_precision: keep every bit; by default rows are divided by their norm, since
            clip-retrieval ranks by inner products, and rounded to half precision.
        rows_per_shard: number of rows of one file, which are in memory twice.
        overwrite: whether an earlier export in that folder may be replaced.

    Raises:
        InvalidInputError: the folder exists; or it contains other files than such an export.
        OSError: the disk is full or fails; nothing is left behind.
    """
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard is {rows_per_shard}, expected 1 or more")
    others = {path.name for path in folder.iterdir()} - set(_SUFFIXES) if folder.is_dir() else ()
    if others:  # a folder of anything else is never replaced
        raise InvalidInputError(
            f"{folder} holds {min(others)!r}, which no export writes: choose another folder"
        )
    starts = range(0, len(features), rows_per_shard)
    with new_folder(folder, overwrite=overwrite) as temporary:
        for number, start in enumerate(starts):
            rows = slice(start, start + rows_per_shard)
            padded = str(number).zfill(len(str(len(starts))))
            for sort, content in _shard(features, rows, keep_precision=keep_precision):
                path = temporary / sort / f"{sort}_{padded}{_SUFFIXES[sort]}"
                write_file(path, content, overwrite=False)
    return folder


def _find_shards(folder: Path, sort: str) -> list[Path]:
    """The files of a sort in the order of their numbers: one for each shard of images."""
    images, found = _numbered(folder, "img_emb"), _numbered(folder, sort)
    if not images:
        reason = "there is no img_emb/img_emb_<number>.npy: give the folder above"
        raise InvalidImportError(folder / sort, reason)
    if odd := sorted(set(images) ^ set(found)):
        raise InvalidImportError(
            folder / sort,
            f"it lacks or has too many of the shards {odd[:10]}, expected one for each file of "
            "img_emb: export again, or import what belongs together",
        )
    return [found[number] for number in sorted(found)]


def _numbered(folder: Path, sort: str) -> dict[int, Path]:
    place = folder / sort
    pattern = re.compile(rf"{sort}_([0-9]{{1,18}}){re.escape(_SUFFIXES[sort])}")
    found: dict[int, Path] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        match = pattern.fullmatch(path.name)
        if match and found.setdefault(int(match[1]), path) != path:
            raise InvalidImportError(
                path, f"it has the number of {found[int(match[1])].name}: keep one of the two"
            )
    return found


def _map_shards(paths: Sequence[Path], max_bytes: int) -> list[npt.NDArray[Any]]:
    """The shards `[n_k, d]`, mapped: a page is read when it is used."""
    shards: list[npt.NDArray[Any]] = []
    for path in paths:
        with errors_about(path):
            shards.append(map_npy(path, max_bytes=max_bytes))
        shard, first = shards[-1], shards[0]
        well_formed = shard.ndim == 2 and shard.dtype.kind == "f"
        if not well_formed or (shard.shape[1], shard.dtype) != (first.shape[1], first.dtype):
            raise InvalidImportError(
                path,
                f"it is {shard.dtype} of shape {list(shard.shape)}, expected floats [n, d] of the "
                "same width and type in every shard; the first is "
                f"{first.dtype} {list(first.shape)}",
            )
        max_bytes -= shard.nbytes
    return shards


def _join_shards(shards: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """All rows in one matrix in memory; the shards stay mapped."""
    rows = sum(len(shard) for shard in shards)
    joined = np.empty((rows, shards[0].shape[1]), shards[0].dtype.newbyteorder("="))
    return np.concatenate(shards, out=joined)


def _read_metadata(
    paths: Sequence[Path],
    rows: Sequence[int],
    resolved: tuple[Names, set[str]],
    max_bytes: int,
) -> dict[str, Any]:
    """The columns of all metadata files by role, without those that no file has."""
    names, given = resolved
    roles = {name: role for role, name in names.items() if name}
    required = {name for role in given if (name := names[role])}
    parts: dict[str, list[Any]] = {}
    for path, n_rows in zip(paths, rows, strict=True):
        columns = _read_columns(path, list(roles), n_rows, max_bytes)
        missing = required - set(columns)
        if missing or (parts and set(columns) != set(parts)):
            missing = missing or set(parts) ^ set(columns)
            raise InvalidImportError(
                path, f"it has no column {sorted(missing)}, or others lack it: say which to read"
            )
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
    joined = {roles[name]: _join(values) for name, values in parts.items()}
    if all(digest is None for digest in joined.get("sha256", ())):  # none were computed
        joined.pop("sha256", None)
    return joined


def _join(parts: list[Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def _read_columns(
    path: Path, names: Sequence[str], n_rows: int, max_bytes: int
) -> dict[str, list[Any] | npt.NDArray[Any]]:
    """Those of the columns that a file has: text as lists, whole numbers as arrays."""
    check_file(path)
    with errors_about(path):
        with pq.ParquetFile(path) as file:
            present = [name for name in names if name in file.schema_arrow.names]
            _check_metadata(path, file.metadata, n_rows, max_bytes)
        # Opened again, as only now the columns are known of which each text is to be read once.
        with pq.ParquetFile(path, read_dictionary=present, page_checksum_verification=True) as file:
            table = file.read(columns=present)
        return {name: _values(path, name, table.column(name)) for name in present}


def _check_metadata(path: Path, metadata: Any, n_rows: int, max_bytes: int) -> None:
    if metadata.num_rows != n_rows:
        raise InvalidImportError(
            path, f"it has {metadata.num_rows} rows, its shard {n_rows}: make both again"
        )
    # The sizes of all columns together: asking a damaged file for one column can end the process,
    # since pyarrow (26) does not catch the exception about malformed statistics.
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    declared = sum(group.total_byte_size for group in groups)
    if declared > max_bytes:
        raise InvalidImportError(
            path, f"its columns declare {declared:,} bytes, at most {max_bytes:,} are taken"
        )


def _values(path: Path, name: str, column: pa.ChunkedArray) -> list[Any] | npt.NDArray[Any]:
    kind = column.type
    if pa.types.is_integer(kind) and not column.null_count:
        numbers: npt.NDArray[Any] = column.to_numpy()
        return numbers
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value_type) or pa.types.is_large_string(value_type)):
        raise InvalidImportError(
            path,
            f"column {name!r} is {kind} with {column.null_count} nulls, expected text or whole "
            "numbers, one a row: correct it, or name another column",
        )
    texts: list[Any] = []
    for chunk in column.chunks:
        # Each distinct text is in memory once: a small file can repeat a long one very often.
        encoded = chunk if pa.types.is_dictionary(kind) else chunk.dictionary_encode()
        distinct = [*encoded.dictionary.to_pylist(), None]
        texts += [distinct[index] for index in encoded.indices.fill_null(-1).to_pylist()]
    return texts


def _folder_names(paths: Any, source: str) -> list[str]:
    names = [PurePosixPath(str(path)).parent.name for path in paths or ()]
    if not names or not all(names):
        raise InvalidImportError(
            source, "some image_path names no folder to take the class from: give a class_name"
        )
    return names


def _class_texts(found: LabelledFeatures, rows: npt.NDArray[Any], path: Path) -> Features:
    """The text feature `[c, d]` of each class, from one row an image."""
    classes, firsts = np.unique(found.labels, return_index=True)
    if rows.shape != found.features.shape or len(classes) != len(found.class_names):
        raise InvalidImportError(
            path,
            f"it has shape {list(rows.shape)} for {len(classes)} of {len(found.class_names)} "
            "classes, expected a row an image and an image in every class: do not read text_emb",
        )
    texts = rows[firsts]
    distance = np.abs(rows.astype(np.float32) - texts[found.labels].astype(np.float32)).max(axis=1)
    if not (distance <= _SAME_TEXT).all():
        raise InvalidImportError(
            path,
            f"row {int((distance > _SAME_TEXT).argmax())} differs from the first of its class, so "
            "these are captions of images: do not read text_emb as text of the classes",
        )
    return as_matrix(texts, "text_features", found.source)


def _shard(
    features: LabelledFeatures, rows: slice, *, keep_precision: bool
) -> Iterator[tuple[str, bytes | memoryview]]:
    prepare = np.asarray if keep_precision else _unit_halves
    yield "img_emb", npy_bytes(prepare(features.features[rows]))
    if features.text_features is not None:
        yield "text_emb", npy_bytes(prepare(features.text_features[features.labels[rows]]))
    sink = pa.BufferOutputStream()
    pq.write_table(_metadata(features, rows), sink, write_page_checksum=True)
    yield "metadata", memoryview(sink.getvalue())


def _unit_halves(features: Features) -> Features:
    """Rows of norm 1, rows of zeros excepted, in half precision."""
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    exact = features / np.where(norms == 0, 1, norms)
    halves: Features = exact.astype(features.dtype).astype(np.float16)
    return halves


def _metadata(features: LabelledFeatures, rows: slice) -> pa.Table:
    labels, digests = features.labels[rows], [each.hex() for each in features.image_sha256[rows]]
    names = [features.class_names[label] for label in labels]
    columns = {
        "image_path": list(features.paths[rows]) if features.paths else digests,
        "caption": None if features.text_features is None else names,
        "label": labels,
        "class_name": names,
        "split": list(features.splits[rows]) if features.splits else None,
        "sha256": digests if features.have_image_digests else None,
    }
    return pa.table({name: values for name, values in columns.items() if values is not None})
