"""Is a store sound? A quick look at every file's end, or every bit of every file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from feature_cache import storage
from feature_cache.contents import classifier_folders, is_content, read_content
from feature_cache.errors import (
    CorruptFileError,
    FeatureCacheError,
    ObjectStoreError,
    WrongSchemaError,
)
from feature_cache.files import is_final
from feature_cache.folders import StoredFolder, stored_folders
from feature_cache.parquet_file import open_verified, read_footer
from feature_cache.paths import Location
from feature_cache.vectors import Features, from_column

_RENAMED = "its name is no digest, so readers pass it over"


@dataclass(frozen=True)
class Finding:
    """What an inspection found out about one file.

    Attributes:
        path: The file.
        size_bytes: As its folder tells it.
        problem: Why it cannot be trusted, None when nothing was found wrong.
    """

    path: Location
    size_bytes: int
    problem: FeatureCacheError | None


def inspect_store(
    root: Location, *, deep: bool, schemas: Mapping[str, pa.Schema] | None = None
) -> Iterator[Finding]:
    """Look at every file of a store, folder by folder; nothing is changed.

    A Parquet file under a name that readers pass over is a problem, too: somebody renamed it.

    Args:
        root: Of everything at rest.
        deep: Read every byte: digest against name, page checksums, every row's columns, features
            finite and all of one width and precision. Otherwise the end of each file only: is it
            Parquet, of this folder's kind and owner, in a format and with columns this program
            reads? Of promoted classifiers that looks at nothing but their being there.
        schemas: The columns of tables that this package does not know, by kind: those of runs,
            `clip_adapter.runs.RUN_TABLES`.

    Raises:
        OSError: The store itself cannot be read.
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
        yield from _classifiers_in(classifiers, deep=deep)


def _classifiers_in(folder: Location, *, deep: bool) -> Iterator[Finding]:
    for entry in storage.list_entries(folder):
        if is_content(entry.name):
            path = folder / entry.name
            yield Finding(path, entry.size_bytes, _damage_of(path) if deep else None)


def _damage_of(path: Location) -> FeatureCacheError | None:
    try:
        read_content(path)
    except FileNotFoundError:  # set aside a moment ago
        return None
    except CorruptFileError as error:
        return error
    return None


class _Inspector:
    """Looks at the files of one folder, and remembers what its first features looked like."""

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
        except ObjectStoreError:  # says nothing about the file
            raise
        except FeatureCacheError as error:
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
            features = from_column(table.column("feature"))
            if self.like is None:
                self.like = features[:0].copy()
            _check_features(path, features, like=self.like)


def _check_features(path: Location, features: Features, *, like: Features) -> None:
    if features.shape[1:] != like.shape[1:] or features.dtype != like.dtype:
        raise WrongSchemaError(
            f"{path} holds {features.dtype} features of width {features.shape[1]}, the first file "
            f"of its folder {like.dtype} of width {like.shape[1]}: one of the two strayed here, and "
            "nothing tells which; move that sort away"
        )
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    if bad:
        raise CorruptFileError(path, f"{bad} of its {len(features)} features are not finite")
