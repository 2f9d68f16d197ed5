"""Features, dataset indexes and any other table at rest: immutable, self-verifying Parquet files.

A file under its final name is complete, and a damaged file is noticed whenever it is read. There
is no manifest, lock or database: the state of a store is the union of its files. FORMAT.md beside
this module is the specification.
"""

from feature_cache.errors import (
    CorruptFileError,
    EmptyTableError,
    FeatureCacheError,
    InvalidFeaturesError,
    InvalidIndexError,
    InvalidKeyError,
    MissingFeaturesError,
    MissingIndexError,
    NewerFormatError,
    NonFiniteFeaturesError,
    UnsafeNameError,
    WrongKindError,
    WrongPrecisionError,
    WrongSchemaError,
    WrongWidthError,
)
from feature_cache.features import (
    FeatureStatistics,
    FeatureStore,
    stores,
)
from feature_cache.files import (
    list_files,
    read_table,
    read_tables,
    verify_file,
    write_table,
)
from feature_cache.indexes import (
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    IndexStore,
)

__all__ = [
    "INDEX_SCHEMA",
    "QUARANTINE_SCHEMA",
    "CorruptFileError",
    "EmptyTableError",
    "FeatureCacheError",
    "FeatureStatistics",
    "FeatureStore",
    "IndexStore",
    "InvalidFeaturesError",
    "InvalidIndexError",
    "InvalidKeyError",
    "MissingFeaturesError",
    "MissingIndexError",
    "NewerFormatError",
    "NonFiniteFeaturesError",
    "UnsafeNameError",
    "WrongKindError",
    "WrongPrecisionError",
    "WrongSchemaError",
    "WrongWidthError",
    "list_files",
    "read_table",
    "read_tables",
    "stores",
    "verify_file",
    "write_table",
]
