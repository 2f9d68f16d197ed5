"""Training of many models in one tensor program, and metrics of their logits.

The settings of a training are imported at once; modules that import torch or scikit-learn are imported
when a name of theirs is used.
"""

from typing import TYPE_CHECKING

from clip_adapter.errors import SettingsError as SettingsError
from clip_adapter.lazy import when_asked
from clip_adapter.training.settings import COOP_TRAINER as COOP_TRAINER
from clip_adapter.training.settings import Recipe as Recipe
from clip_adapter.training.settings import Training as Training
from clip_adapter.training.settings import TrainingSettings as TrainingSettings

_FORMER = {"DivergedError": "clip_adapter.errors.SettingsError"}
"""Former names, accepted for one release."""

if TYPE_CHECKING:
    from clip_adapter.training.evaluation import Predictions as Predictions
    from clip_adapter.training.evaluation import evaluate as evaluate
    from clip_adapter.training.evaluation import fit_temperature as fit_temperature
    from clip_adapter.training.evaluation import nll as nll
    from clip_adapter.training.evaluation import predict as predict
    from clip_adapter.training.gradient_descent import check_finite as check_finite
    from clip_adapter.training.gradient_descent import mean_losses as mean_losses
    from clip_adapter.training.gradient_descent import train_stacked as train_stacked
    from clip_adapter.training.manual_grad import train_adapters as train_adapters
    from clip_adapter.training.stacked_data import StackedData as StackedData
else:
    __getattr__ = when_asked(
        __name__,
        _FORMER,
        evaluation=("Predictions", "evaluate", "fit_temperature", "nll", "predict"),
        gradient_descent=("check_finite", "mean_losses", "train_stacked"),
        manual_grad=("train_adapters",),
        stacked_data=("StackedData",),
    )
