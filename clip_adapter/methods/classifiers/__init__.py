"""What the methods end in: four kinds of classifiers, and their files.

The kinds and what reads their files are imported when they are asked for: they take torch.
"""

from typing import TYPE_CHECKING

from clip_adapter.lazy import when_asked
from clip_adapter.methods.classifiers.classifier import Classifier as Classifier
from clip_adapter.methods.classifiers.classifier import FeatureWidthError as FeatureWidthError
from clip_adapter.methods.classifiers.saved import ClassifierFileError as ClassifierFileError
from clip_adapter.methods.classifiers.saved import SavedClassifier as SavedClassifier

if TYPE_CHECKING:
    from clip_adapter.methods.classifiers.adapter import AdapterClassifier as AdapterClassifier
    from clip_adapter.methods.classifiers.cache import CacheClassifier as CacheClassifier
    from clip_adapter.methods.classifiers.linear import LinearClassifier as LinearClassifier
    from clip_adapter.methods.classifiers.prototype import (
        PrototypeClassifier as PrototypeClassifier,
    )
    from clip_adapter.methods.classifiers.saving import decode_classifier as decode_classifier
    from clip_adapter.methods.classifiers.saving import encode_classifier as encode_classifier
    from clip_adapter.methods.classifiers.saving import load_classifier as load_classifier
    from clip_adapter.methods.classifiers.saving import save_classifier as save_classifier
else:
    __getattr__ = when_asked(
        __name__,
        adapter=("AdapterClassifier",),
        cache=("CacheClassifier",),
        linear=("LinearClassifier",),
        prototype=("PrototypeClassifier",),
        saving=("decode_classifier", "encode_classifier", "load_classifier", "save_classifier"),
    )
