"""Many adapters trained in one tensor program, and the numbers that judge them."""

from clip_adapter.training.evaluation import Predictions as Predictions
from clip_adapter.training.evaluation import evaluate as evaluate
from clip_adapter.training.evaluation import predict as predict
from clip_adapter.training.settings import SettingsError as SettingsError
from clip_adapter.training.settings import TrainingSettings as TrainingSettings
from clip_adapter.training.stack import DivergedError as DivergedError
from clip_adapter.training.stack import StackedData as StackedData
from clip_adapter.training.stack import train_stack as train_stack
