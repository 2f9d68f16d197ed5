"""Features in and out: labelled features made elsewhere, and ours for use elsewhere.

Every reader returns `ForeignFeatures`, unpickles nothing, and answers a damaged or hostile file
with one error that names it. Every writer leaves a complete file or none, and replaces nothing
unasked. docs/exchange.md says what the files look like.
"""

from feature_cache.exchange.clip_retrieval import (
    MetadataColumns,
    ReadingRules,
    read_clip_retrieval,
)
from feature_cache.exchange.clip_retrieval_writer import WritingRules, write_clip_retrieval
from feature_cache.exchange.errors import (
    ExistingExportError,
    ExportChoiceError,
    ForeignFileError,
    ImportConflictError,
    IncompleteImportError,
    InvalidForeignFeaturesError,
    MissingArrayError,
    OversizedFileError,
    PickledArrayError,
    UnknownImportError,
)
from feature_cache.exchange.foreign import ForeignFeatures, FoundArrays, take_in
from feature_cache.exchange.identity import row_ids
from feature_cache.exchange.imported import ImportedDataset, find_imported, imported_names
from feature_cache.exchange.leaving import Texts, format_for, gather_features, write_features
from feature_cache.exchange.npy import labels_beside, read_npy, write_npy
from feature_cache.exchange.npz import ArrayNames, read_npz, write_npz
from feature_cache.exchange.provenance import ClassTexts, ImportedEncoder, texts_of_file
from feature_cache.exchange.safetensors_file import (
    FeatureFile,
    read_safetensors,
    write_safetensors,
)
from feature_cache.exchange.storing import (
    Imported,
    ImportSettings,
    check_import_name,
    import_features,
)
from feature_cache.exchange.telling import Format, ReadingChoices, format_of, read_features

__all__ = [
    "ArrayNames",
    "ClassTexts",
    "ExistingExportError",
    "ExportChoiceError",
    "FeatureFile",
    "ForeignFeatures",
    "ForeignFileError",
    "Format",
    "FoundArrays",
    "ImportConflictError",
    "ImportSettings",
    "Imported",
    "ImportedDataset",
    "ImportedEncoder",
    "IncompleteImportError",
    "InvalidForeignFeaturesError",
    "MetadataColumns",
    "MissingArrayError",
    "OversizedFileError",
    "PickledArrayError",
    "ReadingChoices",
    "ReadingRules",
    "Texts",
    "UnknownImportError",
    "WritingRules",
    "check_import_name",
    "find_imported",
    "format_for",
    "format_of",
    "gather_features",
    "import_features",
    "imported_names",
    "labels_beside",
    "read_clip_retrieval",
    "read_features",
    "read_npy",
    "read_npz",
    "read_safetensors",
    "row_ids",
    "take_in",
    "texts_of_file",
    "write_clip_retrieval",
    "write_features",
    "write_npy",
    "write_npz",
    "write_safetensors",
]
