"""Features, dataset indexes and any other table at rest: immutable, self-verifying Parquet files.

A file under its final name is complete, and a damaged file is noticed whenever it is read. There
is no manifest, lock or database: the state of a store is the union of its files. FORMAT.md beside
this module is the specification.
"""

from feature_cache.compaction import Compaction as Compaction
from feature_cache.compaction import compact_folder as compact_folder
from feature_cache.contents import classifier_folder as classifier_folder
from feature_cache.contents import classifier_folders as classifier_folders
from feature_cache.contents import is_content as is_content
from feature_cache.contents import read_content as read_content
from feature_cache.contents import write_content as write_content
from feature_cache.errors import CorruptFileError as CorruptFileError
from feature_cache.errors import EmptyTableError as EmptyTableError
from feature_cache.errors import FeatureCacheError as FeatureCacheError
from feature_cache.errors import InvalidFeaturesError as InvalidFeaturesError
from feature_cache.errors import InvalidIndexError as InvalidIndexError
from feature_cache.errors import InvalidKeyError as InvalidKeyError
from feature_cache.errors import InvalidRootError as InvalidRootError
from feature_cache.errors import MissingFeaturesError as MissingFeaturesError
from feature_cache.errors import MissingIndexError as MissingIndexError
from feature_cache.errors import NewerFormatError as NewerFormatError
from feature_cache.errors import NonFiniteFeaturesError as NonFiniteFeaturesError
from feature_cache.errors import ObjectStoreError as ObjectStoreError
from feature_cache.errors import UnsafeNameError as UnsafeNameError
from feature_cache.errors import WrongKindError as WrongKindError
from feature_cache.errors import WrongOwnerError as WrongOwnerError
from feature_cache.errors import WrongPrecisionError as WrongPrecisionError
from feature_cache.errors import WrongSchemaError as WrongSchemaError
from feature_cache.errors import WrongWidthError as WrongWidthError
from feature_cache.features import FeatureStore as FeatureStore
from feature_cache.features import stores as stores
from feature_cache.files import list_files as list_files
from feature_cache.files import verify_file as verify_file
from feature_cache.files import write_table as write_table
from feature_cache.folders import StoredFolder as StoredFolder
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
from feature_cache.locations import locate as locate
from feature_cache.parquet_file import read_table as read_table
from feature_cache.paths import Location as Location
from feature_cache.paths import ObjectPath as ObjectPath
from feature_cache.reading import OnCorruption as OnCorruption
from feature_cache.reading import quarantine_file as quarantine_file
from feature_cache.reading import raise_on_corruption as raise_on_corruption
from feature_cache.reading import read_tables as read_tables
from feature_cache.statistics import FeatureStatistics as FeatureStatistics
