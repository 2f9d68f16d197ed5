"""Images, labels, class names, templates and splits: what is learned from, and what is held back."""

from clip_adapter.datasets.errors import (
    DatasetError,
    NotEnoughImagesError,
    SplitFileError,
)
from clip_adapter.datasets.fewshot import FewShotSampler, FewShotSplit, sample_few_shot
from clip_adapter.datasets.index import DatasetIndex, KnownSizes, QuarantinedFile, build_index
from clip_adapter.datasets.opening import (
    DATASETS,
    GENERATED,
    IMPORTED,
    check_dataset,
    check_free_name,
    check_imported_alone,
    description_of,
    open_dataset,
    templates_of,
)
from clip_adapter.datasets.published_few_shot import read_few_shot_indices
from clip_adapter.datasets.sources import ImageSource, LabelledFile
from clip_adapter.datasets.splits import (
    SPLITS,
    PublishedRow,
    Split,
    read_published_split,
    split_by_content,
)
from clip_adapter.datasets.templates import PROMPT_STYLES, check_templates

__all__ = [
    "DATASETS",
    "GENERATED",
    "IMPORTED",
    "PROMPT_STYLES",
    "SPLITS",
    "DatasetError",
    "DatasetIndex",
    "FewShotSampler",
    "FewShotSplit",
    "ImageSource",
    "KnownSizes",
    "LabelledFile",
    "NotEnoughImagesError",
    "PublishedRow",
    "QuarantinedFile",
    "Split",
    "SplitFileError",
    "build_index",
    "check_dataset",
    "check_free_name",
    "check_imported_alone",
    "check_templates",
    "description_of",
    "open_dataset",
    "read_few_shot_indices",
    "read_published_split",
    "sample_few_shot",
    "split_by_content",
    "templates_of",
]
