"""Many models trained in one tensor program, and the numbers that judge them.

The settings of a training stand here at once; what computes is imported when it is asked for.
"""

from typing import TYPE_CHECKING

from clip_adapter.lazy import when_asked
from clip_adapter.training.settings import COOP_TRAINER as COOP_TRAINER
from clip_adapter.training.settings import Recipe as Recipe
from clip_adapter.training.settings import SettingsError as SettingsError
from clip_adapter.training.settings import Training as Training
from clip_adapter.training.settings import TrainingSettings as TrainingSettings

if TYPE_CHECKING:
    from clip_adapter.training.descent import DivergedError as DivergedError
    from clip_adapter.training.descent import descend as descend
    from clip_adapter.training.evaluation import Predictions as Predictions
    from clip_adapter.training.evaluation import ScoresError as ScoresError
    from clip_adapter.training.evaluation import evaluate as evaluate
    from clip_adapter.training.evaluation import fit_temperature as fit_temperature
    from clip_adapter.training.evaluation import nll as nll
    from clip_adapter.training.evaluation import predict as predict
    from clip_adapter.training.stack import mean_losses as mean_losses
    from clip_adapter.training.stack import train_stack as train_stack
    from clip_adapter.training.stacked_data import StackedData as StackedData
else:
    __getattr__ = when_asked(
        __name__,
        descent=("DivergedError", "descend"),
        evaluation=("Predictions", "ScoresError", "evaluate", "fit_temperature", "nll", "predict"),
        stack=("mean_losses", "train_stack"),
        stacked_data=("StackedData",),
    )
