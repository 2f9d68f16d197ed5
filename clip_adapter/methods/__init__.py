"""Few-shot methods, one a file, behind one protocol: `fit(tasks) -> one Fitted a task`."""

from clip_adapter.methods.classifiers import AdapterClassifier as AdapterClassifier
from clip_adapter.methods.classifiers import CacheClassifier as CacheClassifier
from clip_adapter.methods.classifiers import Classifier as Classifier
from clip_adapter.methods.classifiers import FeatureWidthError as FeatureWidthError
from clip_adapter.methods.classifiers import LinearClassifier as LinearClassifier
from clip_adapter.methods.classifiers import PrototypeClassifier as PrototypeClassifier
from clip_adapter.methods.classifiers import SavedClassifier as SavedClassifier
from clip_adapter.methods.classifiers import load_classifier as load_classifier
from clip_adapter.methods.classifiers import save_classifier as save_classifier
from clip_adapter.methods.coop import CoOp as CoOp
from clip_adapter.methods.linear_probe import LinearProbe as LinearProbe
from clip_adapter.methods.method import Candidate as Candidate
from clip_adapter.methods.method import Fitted as Fitted
from clip_adapter.methods.method import Method as Method
from clip_adapter.methods.prototypes import class_prototypes as class_prototypes
from clip_adapter.methods.registry import METHODS as METHODS
from clip_adapter.methods.registry import create_method as create_method
from clip_adapter.methods.registry import setting_names as setting_names
from clip_adapter.methods.task import FewShotTask as FewShotTask
from clip_adapter.methods.task import TaskError as TaskError
from clip_adapter.methods.text_tower import TextTower as TextTower
from clip_adapter.methods.tip_adapter import TipAdapter as TipAdapter
from clip_adapter.methods.tip_adapter import TipAdapterF as TipAdapterF
from clip_adapter.methods.visual_adapter import ClipAdapter as ClipAdapter
from clip_adapter.methods.zero_shot import ZeroShot as ZeroShot
