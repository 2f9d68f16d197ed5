"""Check whether the files of a store are intact: the end of every file, or every bit of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import (
    FILE_ERRORS,
    CorruptFileError,
    FeatureCacheError,
    WrongSchemaError,
)
from feature_cache.feature_table import Features, from_column
from feature_cache.folders import StoredFolder, classifier_folders, stored_folders
from feature_cache.parquet_file import is_final, open_verified, read_footer
from feature_cache.paths import Entry, Location

_RENAMED = "its name is no digest, so readers ignore it"


@dataclass(frozen=True)
class Finding:
    """Result of inspecting one file.

    Attributes:
        path: path of the file.
        size_bytes: size according to the listing of its folder.
        problem: error that describes why the file cannot be used; None if it is intact.
    """

    path: Location
    size_bytes: int
    problem: FeatureCacheError | None


def inspect_store(
    root: Location, *, deep: bool, schemas: Mapping[str, pa.Schema] | None = None
) -> Iterator[Finding]:
    """Inspect every file of a store, folder by folder; nothing is changed.

    A Parquet file whose name is no digest is a problem, too, because readers ignore it.

    Args:
        root: root of the store.
        deep: read every byte, and check digest, page checksums, the columns of every row, and that
            all features are finite and of one width and precision. Otherwise read the end of each
            Parquet file, and check its format, kind, owner and columns; promoted classifiers are
            only listed.
        schemas: columns, by kind, of tables that this package does not know; for those of runs,
            pass `clip_adapter.runs.RUN_TABLES`.

    Raises:
        OSError: the store cannot be read.
    """
    for folder in stored_folders(root):
        known = folder.schema if folder.schema is not None else (schemas or {}).get(folder.kind)
        inspector = _Inspector(replace(folder, schema=known))
        for entry in storage.list_entries(folder.path):
            path = folder.path / entry.name
            if is_final(entry.name):
                yield Finding(path, entry.size_bytes, inspector.problem_of(path, deep=deep))
            elif entry.name.lower().endswith(".parquet"):
                yield Finding(path, entry.size_bytes, CorruptFileError(path, _RENAMED))
    for classifiers in classifier_folders(root):
        for entry in storage.list_entries(classifiers):
            if storage.is_content(entry.name):
                yield _inspect_classifier(classifiers, entry, deep=deep)


def _inspect_classifier(folder: Location, entry: Entry, *, deep: bool) -> Finding:
    path = folder / entry.name
    problem = None
    if deep:
        try:
            storage.verify_file(path)
        except FileNotFoundError:  # quarantined a moment ago
            pass
        except CorruptFileError as error:
            problem = error
    return Finding(path, entry.size_bytes, problem)


class _Inspector:
    """Inspects the files of one folder, and compares their features with those of the first."""

    def __init__(self, folder: StoredFolder) -> None:
        self.folder = folder
        self.like: Features | None = None

    def problem_of(self, path: Location, *, deep: bool) -> FeatureCacheError | None:
        try:
            if deep:
                self._read_all(path)
            else:
                self._read_end(path)
        except FileNotFoundError:  # merged into another file a moment ago
            return None
        except FILE_ERRORS as error:
            return error
        return None

    def _read_end(self, path: Location) -> None:
        folder = self.folder
        read_footer(path, kind=folder.kind, owner=folder.owner, expected=folder.schema)

    def _read_all(self, path: Location) -> None:
        file = open_verified(path, kind=self.folder.kind, owner=self.folder.owner)
        table = file.read()
        if self.folder.schema is not None:
            file.conform(table, self.folder.schema)
        if self.folder.has_features:
            file.check_has("feature")
            features = from_column(table.column("feature"))
            if self.like is None:
                self.like = features[:0].copy()
            _check_features(path, features, like=self.like)


def _check_features(path: Location, features: Features, *, like: Features) -> None:
    if features.shape[1:] != like.shape[1:] or features.dtype != like.dtype:
        raise WrongSchemaError(
            f"{path} holds {features.dtype} features of width {features.shape[1]}, the first file "
            f"of its folder {like.dtype} of width {like.shape[1]}: one of the two does not "
            "belong here, and nothing shows which; move those files away"
        )
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    if bad:
        raise CorruptFileError(path, f"{bad} of its {len(features)} features are not finite")
