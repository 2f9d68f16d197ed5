"""Stored features, dataset indexes and other tables: immutable, self-verifying Parquet files.

A file with its final name is complete, and a damaged file is detected whenever it is read. There is
no manifest, lock or database: the state of a store is the union of its files. FORMAT.md in this
folder is the specification.
"""

import warnings
from typing import TYPE_CHECKING

from feature_cache.compaction import Compaction as Compaction
from feature_cache.compaction import compact_folder as compact_folder
from feature_cache.errors import CorruptFileError as CorruptFileError
from feature_cache.errors import FeatureCacheError as FeatureCacheError
from feature_cache.errors import InvalidInputError as InvalidInputError
from feature_cache.errors import MisplacedFileError as MisplacedFileError
from feature_cache.errors import NewerFormatError as NewerFormatError
from feature_cache.errors import NotStoredError as NotStoredError
from feature_cache.errors import ObjectStoreError as ObjectStoreError
from feature_cache.errors import WrongSchemaError as WrongSchemaError
from feature_cache.features import FeatureStatistics as FeatureStatistics
from feature_cache.features import FeatureStore as FeatureStore
from feature_cache.features import stores as stores
from feature_cache.folders import StoredFolder as StoredFolder
from feature_cache.folders import classifier_folder as classifier_folder
from feature_cache.folders import classifier_folders as classifier_folders
from feature_cache.folders import stored_folders as stored_folders
from feature_cache.garbage import Leftover as Leftover
from feature_cache.garbage import UnreferencedRows as UnreferencedRows
from feature_cache.garbage import drop_unreferenced as drop_unreferenced
from feature_cache.garbage import find_leftovers as find_leftovers
from feature_cache.garbage import remove_leftovers as remove_leftovers
from feature_cache.indexes import EXCLUDED_SCHEMA as EXCLUDED_SCHEMA
from feature_cache.indexes import INDEX_SCHEMA as INDEX_SCHEMA
from feature_cache.indexes import QUARANTINE_SCHEMA as QUARANTINE_SCHEMA
from feature_cache.indexes import IndexStore as IndexStore
from feature_cache.inspection import Finding as Finding
from feature_cache.inspection import inspect_store as inspect_store
from feature_cache.parquet_file import list_file_entries as list_file_entries
from feature_cache.parquet_file import list_files as list_files
from feature_cache.parquet_file import read_table as read_table
from feature_cache.parquet_file import write_table as write_table
from feature_cache.paths import Location as Location
from feature_cache.paths import ObjectPath as ObjectPath
from feature_cache.paths import locate as locate
from feature_cache.reading import OnCorruption as OnCorruption
from feature_cache.reading import quarantine_file as quarantine_file
from feature_cache.reading import raise_on_corruption as raise_on_corruption
from feature_cache.reading import read_tables as read_tables
from feature_cache.storage import is_content as is_content
from feature_cache.storage import read_content as read_content
from feature_cache.storage import verify_file as verify_file
from feature_cache.storage import write_content as write_content

_RENAMED = {
    "EmptyTableError": "InvalidInputError",
    "InvalidFeaturesError": "InvalidInputError",
    "InvalidIndexError": "InvalidInputError",
    "InvalidKeyError": "InvalidInputError",
    "InvalidRootError": "InvalidInputError",
    "MissingFeaturesError": "NotStoredError",
    "MissingIndexError": "NotStoredError",
    "NonFiniteFeaturesError": "InvalidInputError",
    "UnsafeNameError": "InvalidInputError",
    "WrongKindError": "MisplacedFileError",
    "WrongOwnerError": "MisplacedFileError",
    "WrongPrecisionError": "InvalidInputError",
    "WrongWidthError": "InvalidInputError",
    "refuse": "raise_on_corruption",
}
"""Former names, accepted for one release."""


if not TYPE_CHECKING:  # so that type checkers still report unknown names

    def __getattr__(name: str) -> object:
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        message = f"feature_cache.{name} is now feature_cache.{_RENAMED[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return globals()[_RENAMED[name]]
