"""One model to be trained, and what came of it."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from clip_adapter.methods.classifiers import Classifier
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One model to be trained.

    Attributes:
        task: what it learns from.
        training: how.
        ratios: its residual ratios by their names, empty where they are learned.
    """

    task: FewShotTask
    training: Training
    ratios: Mapping[str, float]

    @property
    def n_images(self) -> int:
        """It learns from."""
        return len(self.task.train_labels)

    @property
    def image_visits(self) -> int:
        """How much there is to do."""
        return self.training.epochs * self.n_images

    @property
    def kind(self) -> Hashable:
        """Equal for trials that fit into one tensor program."""
        prototypes = self.task.class_prototypes
        text_side = (prototypes.shape, prototypes.tobytes(), self.task.logit_scale)
        return self.training, self.n_images, text_side


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What came of a trial.

    Attributes:
        classifier: ready to use.
        ratios: the residual ratios; where one is predicted from features, its mean.
        loss_curve: mean training loss in each epoch.
        seconds: its share of the training time.
    """

    classifier: Classifier
    ratios: Mapping[str, float]
    loss_curve: tuple[float, ...]
    seconds: float
