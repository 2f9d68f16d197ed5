"""What a store holds, row by row, and whether that is a state in which it may be found."""

from pathlib import Path

import numpy as np

from feature_cache import inspect_store, stored_folders
from feature_cache.parquet_file import is_final, list_files, open_verified

__all__ = ["Row", "damaged_files", "features_in", "refuse_unsound", "rows_in"]

Row = tuple[str, tuple[object, ...]]
"""The folder below the root, and every value of the row in the order of its columns."""


def rows_in(root: Path, *, below: str = "") -> frozenset[Row]:
    """Every stored row (below a folder), bit for bit; a row that two files hold counts once."""
    return frozenset(
        (folder.path.relative_to(root).as_posix(), tuple(map(_plain, row.values())))
        for folder in stored_folders(root)
        if folder.path.is_relative_to(root / below)
        for path in list_files(folder.path)
        for row in open_verified(path, kind=folder.kind, owner=folder.owner).read().to_pylist()
    )


def features_in(rows: frozenset[Row]) -> frozenset[Row]:
    """Those that are features of images."""
    return frozenset(row for row in rows if row[0].endswith("/image"))


def damaged_files(root: Path) -> list[str]:
    """What a deep look at a store finds wrong."""
    return [str(found.problem) for found in inspect_store(root, deep=True) if found.problem]


def refuse_unsound(root: Path, whole: frozenset[Row]) -> frozenset[Row]:
    """The rows of an interrupted extraction, if they are sound rows of the undisturbed one."""
    assert damaged_files(root) == []
    strangers = [path for path in root.rglob("*") if path.is_file() and not _is_ours(path.name)]
    assert strangers == []
    rows = rows_in(root)
    assert rows <= whole
    for folder in ("datasets/photos/images", "datasets/photos/quarantine"):
        # An index is there completely or not at all.
        assert _below(rows, folder) in (set(), _below(whole, folder))
    if _below(rows, "datasets/photos/images"):
        assert _below(rows, "datasets/photos/quarantine")
    return rows


def _below(rows: frozenset[Row], folder: str) -> set[Row]:
    return {row for row in rows if row[0] == folder}


def _is_ours(name: str) -> bool:
    return is_final(name) or (name.startswith(".") and name.endswith(".tmp"))


def _plain(value: object) -> object:
    """The bits of a feature: 0.0 and -0.0 are equal as numbers."""
    return np.asarray(value, np.float32).tobytes() if isinstance(value, list) else value
