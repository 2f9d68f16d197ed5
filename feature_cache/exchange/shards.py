"""The files of clip-retrieval's folder: numbered shards of features, and their metadata."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache.exchange.arrays import map_npy
from feature_cache.exchange.damage import damage_named
from feature_cache.exchange.errors import ForeignFileError, OversizedFileError


@dataclass(frozen=True)
class Sort:
    """One sort of numbered files: `<name>/<name>_<number><ending>`."""

    name: str
    ending: str

    def path(self, folder: Path, number: str) -> Path:
        """Where shard `number`, already padded, lies."""
        return folder / self.name / f"{self.name}_{number}{self.ending}"


METADATA = Sort("metadata", ".parquet")


def numbered(folder: Path, sort: Sort) -> dict[int, Path]:
    """The files of one sort by number, in numeric order; none when their folder is missing.

    Raises:
        ForeignFileError: Two files have one number, as `_1` and `_01`.
    """
    place = folder / sort.name
    pattern = re.compile(rf"{sort.name}_([0-9]{{1,18}}){re.escape(sort.ending)}")
    found: dict[int, Path] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        match = pattern.fullmatch(path.name)
        if match and found.setdefault(int(match[1]), path) != path:
            raise ForeignFileError(
                path, f"it has the number of {found[int(match[1])].name}: keep one of the two"
            )
    return dict(sorted(found.items()))


def map_shards(paths: Sequence[Path], *, max_bytes: int) -> list[npt.NDArray[Any]]:
    """The shards `[n_k, d]` as read-only arrays that are paged in when they are used.

    Raises:
        OversizedFileError: Together they are larger than `max_bytes`.
        PickledArrayError, ForeignFileError: Names the shard.
    """
    shards: list[npt.NDArray[Any]] = []
    left = max_bytes
    for path in paths:
        with damage_named(path):
            shards.append(map_npy(path, max_bytes=left))
        _check_alike(path, shards[-1], shards[0])
        left -= shards[-1].nbytes
    return shards


def join_shards(shards: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """All rows in one matrix `[n, d]` in memory, which holds the shards no second time."""
    rows = sum(len(shard) for shard in shards)
    joined = np.empty((rows, shards[0].shape[1]), shards[0].dtype.newbyteorder("="))
    return np.concatenate(shards, out=joined)


def read_columns(
    path: Path, columns: Sequence[str], *, rows: int, max_bytes: int
) -> dict[str, list[Any] | npt.NDArray[Any]]:
    """Those of the columns that a metadata file has: text as lists, whole numbers as arrays.

    Raises:
        ForeignFileError: No Parquet file, damaged, not `rows` rows, or a column of another type.
    """
    if not path.is_file():
        raise ForeignFileError(path, "it is not there, or no regular file: check the path")
    with damage_named(path):
        with pq.ParquetFile(path) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            _check_size(path, file.metadata, rows=rows, max_bytes=max_bytes)
        # Only now are the columns known of which each distinct text is to be read once.
        with pq.ParquetFile(path, read_dictionary=there, page_checksum_verification=True) as file:
            table = file.read(columns=there)
        return {name: _values(path, name, table.column(name)) for name in there}


def _check_alike(path: Path, shard: npt.NDArray[Any], first: npt.NDArray[Any]) -> None:
    sound = shard.ndim == 2 and shard.dtype.kind == "f"
    if not sound or (shard.shape[1], shard.dtype) != (first.shape[1], first.dtype):
        raise ForeignFileError(
            path,
            f"it is {shard.dtype} of shape {list(shard.shape)}, expected floats [n, d] of the same "
            f"width and type in every shard; the first is {first.dtype} {list(first.shape)}",
        )


def _check_size(path: Path, metadata: Any, *, rows: int, max_bytes: int) -> None:
    if metadata.num_rows != rows:
        raise ForeignFileError(
            path, f"it has {metadata.num_rows} rows, its shard {rows}: make both again"
        )
    # Of all columns, wanted or not: to look at one of a damaged file can end the whole process, for
    # pyarrow (26) lets the exception about its statistics through to nobody.
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    declared = sum(group.total_byte_size for group in groups)
    if declared > max_bytes:
        raise OversizedFileError(
            path, f"its columns declare {declared:,} bytes, at most {max_bytes:,} are taken"
        )


def _values(path: Path, name: str, column: pa.ChunkedArray) -> list[Any] | npt.NDArray[Any]:
    kind = column.type
    if pa.types.is_integer(kind) and not column.null_count:
        numbers: npt.NDArray[Any] = column.to_numpy()
        return numbers
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value_type) or pa.types.is_large_string(value_type)):
        raise ForeignFileError(
            path,
            f"column {name!r} is {kind} with {column.null_count} nulls, expected text or whole "
            "numbers, one a row: correct it, or name another column",
        )
    texts: list[Any] = []
    for chunk in column.chunks:
        # Each distinct text once in memory: a small file may repeat a long one very often.
        encoded = chunk if pa.types.is_dictionary(kind) else chunk.dictionary_encode()
        distinct = [*encoded.dictionary.to_pylist(), None]
        texts += [distinct[index] for index in encoded.indices.fill_null(-1).to_pylist()]
    return texts
