"""Import of labelled features that were made elsewhere, and export for use elsewhere.

Every reader returns `LabelledFeatures`, unpickles nothing, and raises one error that names a
damaged or hostile file. Every writer leaves a complete file or none, and replaces nothing unless
it is told to. docs/exchange.md describes the formats.
"""

import warnings
from typing import TYPE_CHECKING

import feature_cache
from feature_cache.exchange.clip_retrieval import COLUMN_NAMES as COLUMN_NAMES
from feature_cache.exchange.clip_retrieval import read_clip_retrieval as read_clip_retrieval
from feature_cache.exchange.clip_retrieval import write_clip_retrieval as write_clip_retrieval
from feature_cache.exchange.errors import InvalidImportError as InvalidImportError
from feature_cache.exchange.formats import Format as Format
from feature_cache.exchange.formats import detect_format as detect_format
from feature_cache.exchange.formats import format_for as format_for
from feature_cache.exchange.formats import read_features as read_features
from feature_cache.exchange.formats import write_features as write_features
from feature_cache.exchange.import_features import ClassTexts as ClassTexts
from feature_cache.exchange.import_features import Imported as Imported
from feature_cache.exchange.import_features import check_import_name as check_import_name
from feature_cache.exchange.import_features import import_features as import_features
from feature_cache.exchange.import_features import texts_of_file as texts_of_file
from feature_cache.exchange.imported import ImportedDataset as ImportedDataset
from feature_cache.exchange.imported import find_imported as find_imported
from feature_cache.exchange.imported import imported_names as imported_names
from feature_cache.exchange.labelled_features import LabelledFeatures as LabelledFeatures
from feature_cache.exchange.labelled_features import gather_features as gather_features
from feature_cache.exchange.labelled_features import row_ids as row_ids
from feature_cache.exchange.npy import labels_beside as labels_beside
from feature_cache.exchange.npy import read_npy as read_npy
from feature_cache.exchange.npy import write_npy as write_npy
from feature_cache.exchange.npz import ARRAY_NAMES as ARRAY_NAMES
from feature_cache.exchange.npz import read_npz as read_npz
from feature_cache.exchange.npz import write_npz as write_npz
from feature_cache.exchange.safetensors_file import read_safetensors as read_safetensors
from feature_cache.exchange.safetensors_file import write_safetensors as write_safetensors

_RENAMED = {"ExportError": "InvalidInputError", "UnknownImportError": "NotStoredError"}
"""Former names, accepted for one release, and the names in `feature_cache` that replace them."""


if not TYPE_CHECKING:  # so that type checkers still report unknown names

    def __getattr__(name: str) -> object:
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        message = f"feature_cache.exchange.{name} is now feature_cache.{_RENAMED[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(feature_cache, _RENAMED[name])
