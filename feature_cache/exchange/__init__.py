"""Features in and out: labelled features made elsewhere, and ours for use elsewhere.

Every reader returns `LabelledFeatures`, unpickles nothing, and answers a damaged or hostile file
with one error that names it. Every writer leaves a complete file or none, and replaces nothing
unasked. docs/exchange.md says what the files look like.
"""

from feature_cache.exchange.clip_retrieval import MetadataColumns as MetadataColumns
from feature_cache.exchange.clip_retrieval import ReadingRules as ReadingRules
from feature_cache.exchange.clip_retrieval import read_clip_retrieval as read_clip_retrieval
from feature_cache.exchange.clip_retrieval_writer import WritingRules as WritingRules
from feature_cache.exchange.clip_retrieval_writer import (
    write_clip_retrieval as write_clip_retrieval,
)
from feature_cache.exchange.errors import ExistingExportError as ExistingExportError
from feature_cache.exchange.errors import ExportChoiceError as ExportChoiceError
from feature_cache.exchange.errors import ForeignFileError as ForeignFileError
from feature_cache.exchange.errors import ImportConflictError as ImportConflictError
from feature_cache.exchange.errors import IncompleteImportError as IncompleteImportError
from feature_cache.exchange.errors import InvalidForeignFeaturesError as InvalidForeignFeaturesError
from feature_cache.exchange.errors import MissingArrayError as MissingArrayError
from feature_cache.exchange.errors import OversizedFileError as OversizedFileError
from feature_cache.exchange.errors import PickledArrayError as PickledArrayError
from feature_cache.exchange.errors import UnknownImportError as UnknownImportError
from feature_cache.exchange.export import Texts as Texts
from feature_cache.exchange.export import format_for as format_for
from feature_cache.exchange.export import gather_features as gather_features
from feature_cache.exchange.export import write_features as write_features
from feature_cache.exchange.formats import Format as Format
from feature_cache.exchange.formats import ReadingChoices as ReadingChoices
from feature_cache.exchange.formats import format_of as format_of
from feature_cache.exchange.formats import read_features as read_features
from feature_cache.exchange.import_features import Imported as Imported
from feature_cache.exchange.import_features import ImportSettings as ImportSettings
from feature_cache.exchange.import_features import check_import_name as check_import_name
from feature_cache.exchange.import_features import import_features as import_features
from feature_cache.exchange.imported import ImportedDataset as ImportedDataset
from feature_cache.exchange.imported import find_imported as find_imported
from feature_cache.exchange.imported import imported_names as imported_names
from feature_cache.exchange.labelled_features import FoundArrays as FoundArrays
from feature_cache.exchange.labelled_features import LabelledFeatures as LabelledFeatures
from feature_cache.exchange.labelled_features import row_ids as row_ids
from feature_cache.exchange.labelled_features import take_in as take_in
from feature_cache.exchange.npy import labels_beside as labels_beside
from feature_cache.exchange.npy import read_npy as read_npy
from feature_cache.exchange.npy import write_npy as write_npy
from feature_cache.exchange.npz import ArrayNames as ArrayNames
from feature_cache.exchange.npz import read_npz as read_npz
from feature_cache.exchange.npz import write_npz as write_npz
from feature_cache.exchange.provenance import ClassTexts as ClassTexts
from feature_cache.exchange.provenance import ImportedEncoder as ImportedEncoder
from feature_cache.exchange.provenance import texts_of_file as texts_of_file
from feature_cache.exchange.safetensors_file import FeatureFile as FeatureFile
from feature_cache.exchange.safetensors_file import read_safetensors as read_safetensors
from feature_cache.exchange.safetensors_file import write_safetensors as write_safetensors
