"""Few-shot methods, one a file, and what they share.

A method is made of its settings without importing torch. Modules that import torch, those of the
classifiers and of `fitting`, are imported when something is fitted or classified.
"""

from typing import TYPE_CHECKING

from clip_adapter.errors import DataError as DataError
from clip_adapter.lazy import when_asked
from clip_adapter.methods.ape import Ape as Ape
from clip_adapter.methods.auto import Auto as Auto
from clip_adapter.methods.auto import ClipAdapterGda as ClipAdapterGda
from clip_adapter.methods.clap import Clap as Clap
from clip_adapter.methods.clip_adapter import ClipAdapter as ClipAdapter
from clip_adapter.methods.coop import CoOp as CoOp
from clip_adapter.methods.cross_modal import CrossModalProbe as CrossModalProbe
from clip_adapter.methods.gda import Gda as Gda
from clip_adapter.methods.grid_method import GridMethod as GridMethod
from clip_adapter.methods.grid_method import Trial as Trial
from clip_adapter.methods.linear_probe import LinearProbe as LinearProbe
from clip_adapter.methods.lp_plus_plus import LpPlusPlus as LpPlusPlus
from clip_adapter.methods.method import Candidate as Candidate
from clip_adapter.methods.method import Classifier as Classifier
from clip_adapter.methods.method import Fitted as Fitted
from clip_adapter.methods.method import HeldOut as HeldOut
from clip_adapter.methods.method import Method as Method
from clip_adapter.methods.method import PerTaskMethod as PerTaskMethod
from clip_adapter.methods.moments_method import MomentsMethod as MomentsMethod
from clip_adapter.methods.nearest_mean import NearestMean as NearestMean
from clip_adapter.methods.proker import ProKeR as ProKeR
from clip_adapter.methods.registry import METHODS as METHODS
from clip_adapter.methods.registry import create_method as create_method
from clip_adapter.methods.registry import fit_method as fit_method
from clip_adapter.methods.registry import register as register
from clip_adapter.methods.registry import setting_names as setting_names
from clip_adapter.methods.registry import settings_of as settings_of
from clip_adapter.methods.registry import third_party_sources as third_party_sources
from clip_adapter.methods.ridge_to_text import RidgeToText as RidgeToText
from clip_adapter.methods.saved_classifier import SavedClassifier as SavedClassifier
from clip_adapter.methods.saved_classifier import decode_classifier as decode_classifier
from clip_adapter.methods.saved_classifier import encode_classifier as encode_classifier
from clip_adapter.methods.saved_classifier import load_classifier as load_classifier
from clip_adapter.methods.saved_classifier import save_classifier as save_classifier
from clip_adapter.methods.selection import Selection as Selection
from clip_adapter.methods.selection import best_candidate as best_candidate
from clip_adapter.methods.selection import folds as folds
from clip_adapter.methods.selection import validate as validate
from clip_adapter.methods.ss_text import SsText as SsText
from clip_adapter.methods.ss_text import SsTextPlus as SsTextPlus
from clip_adapter.methods.task import FewShotTask as FewShotTask
from clip_adapter.methods.task import TextTower as TextTower
from clip_adapter.methods.task import class_prototypes as class_prototypes
from clip_adapter.methods.task_res import TaskRes as TaskRes
from clip_adapter.methods.tip_adapter import TipAdapter as TipAdapter
from clip_adapter.methods.tip_adapter import TipAdapterF as TipAdapterF
from clip_adapter.methods.zero_shot import ZeroShot as ZeroShot

if TYPE_CHECKING:
    from clip_adapter.methods.classifiers import AdapterClassifier as AdapterClassifier
    from clip_adapter.methods.classifiers import BlendedClassifier as BlendedClassifier
    from clip_adapter.methods.classifiers import CacheClassifier as CacheClassifier
    from clip_adapter.methods.classifiers import KernelClassifier as KernelClassifier
    from clip_adapter.methods.classifiers import LinearClassifier as LinearClassifier
    from clip_adapter.methods.classifiers import PrototypeClassifier as PrototypeClassifier
    from clip_adapter.methods.classifiers import WeightedCacheClassifier as WeightedCacheClassifier
else:
    __getattr__ = when_asked(
        __name__,
        classifiers=(
            "AdapterClassifier",
            "BlendedClassifier",
            "KernelClassifier",
            "WeightedCacheClassifier",
            "CacheClassifier",
            "LinearClassifier",
            "PrototypeClassifier",
        ),
    )
