"""Features, dataset indexes and any other table at rest: immutable, self-verifying Parquet files.

A file under its final name is complete, and a damaged file is noticed whenever it is read. There
is no manifest, lock or database: the state of a store is the union of its files. FORMAT.md beside
this module is the specification.
"""

from feature_cache.compaction import Compaction, compact_folder
from feature_cache.contents import (
    classifier_folder,
    classifier_folders,
    is_content,
    read_content,
    write_content,
)
from feature_cache.errors import (
    CorruptFileError,
    EmptyTableError,
    FeatureCacheError,
    InvalidFeaturesError,
    InvalidIndexError,
    InvalidKeyError,
    InvalidRootError,
    MissingFeaturesError,
    MissingIndexError,
    NewerFormatError,
    NonFiniteFeaturesError,
    ObjectStoreError,
    UnsafeNameError,
    WrongKindError,
    WrongOwnerError,
    WrongPrecisionError,
    WrongSchemaError,
    WrongWidthError,
)
from feature_cache.features import FeatureStore, stores
from feature_cache.files import list_files, verify_file, write_table
from feature_cache.folders import StoredFolder, stored_folders
from feature_cache.garbage import (
    Leftover,
    UnreferencedRows,
    drop_unreferenced,
    find_leftovers,
    remove_leftovers,
)
from feature_cache.indexes import (
    EXCLUDED_SCHEMA,
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    IndexStore,
)
from feature_cache.inspection import Finding, inspect_store
from feature_cache.locations import locate
from feature_cache.opening import read_table
from feature_cache.paths import Location, ObjectPath
from feature_cache.reading import OnDamage, read_tables, refuse, set_aside
from feature_cache.statistics import FeatureStatistics

__all__ = [
    "EXCLUDED_SCHEMA",
    "INDEX_SCHEMA",
    "QUARANTINE_SCHEMA",
    "Compaction",
    "CorruptFileError",
    "EmptyTableError",
    "FeatureCacheError",
    "FeatureStatistics",
    "FeatureStore",
    "Finding",
    "IndexStore",
    "InvalidFeaturesError",
    "InvalidIndexError",
    "InvalidKeyError",
    "InvalidRootError",
    "Leftover",
    "Location",
    "MissingFeaturesError",
    "MissingIndexError",
    "NewerFormatError",
    "NonFiniteFeaturesError",
    "ObjectPath",
    "ObjectStoreError",
    "OnDamage",
    "StoredFolder",
    "UnreferencedRows",
    "UnsafeNameError",
    "WrongKindError",
    "WrongOwnerError",
    "WrongPrecisionError",
    "WrongSchemaError",
    "WrongWidthError",
    "classifier_folder",
    "classifier_folders",
    "compact_folder",
    "drop_unreferenced",
    "find_leftovers",
    "inspect_store",
    "is_content",
    "list_files",
    "locate",
    "read_content",
    "read_table",
    "read_tables",
    "refuse",
    "remove_leftovers",
    "set_aside",
    "stored_folders",
    "stores",
    "verify_file",
    "write_content",
    "write_table",
]
