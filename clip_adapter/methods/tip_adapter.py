"""Tip-Adapter and Tip-Adapter-F: the few shots as a cache, as they are or with trained keys."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.grid_method import (
    TRAINED,
    GridMethod,
    Point,
    Report,
    Trial,
    floats_of,
    models_in_memory,
    stop_epochs,
)
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Recipe, Training, TrainingSettings
from clip_adapter.training.settings import value_at

ALPHAS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 35.0, 60.0)
BETAS = (1.0, 2.0, 3.5, 5.5, 8.0, 12.0, 18.0, 30.0)
"""Coarser than the authors' search of 200 betas and 20 alphas, and in one range for all datasets; theirs
end at 3 to 50 (https://github.com/gaopengcuhk/Tip-Adapter, configs)."""
DEFAULT_TRAINED_BETAS = ((1, 1.0), (2, 2.0), (16, 5.5))
DEFAULT_TRAINED_ALPHAS = ((1, 12.0), (2, 3.0), (16, 1.0))
MOST_FOLDS = 16
"""A cache takes no training, so that more folds than four cost little."""
RECIPES = {
    # Zhang et al. 2022, section 4.1: 20 epochs of AdamW (torch's own decay) in batches of 256.
    "paper": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 20),),
        batch_size=256,
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=5e-3,
        weight_decay=1e-2,
        epochs=((16, 4),),  # fewer than a fifth of the paper's lose accuracy
        batch_size=128,
    ),
}


@dataclass(frozen=True, kw_only=True)
class _CacheMethod(GridMethod):
    """A method whose classifiers are caches that differ in alpha and beta."""

    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    views: int = 0

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_grid("betas", self.betas, at_least=0.0)
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Betas and alphas."""
        return {"beta": self.betas, "alpha": self.alphas}

    def defaults(self, task: FewShotTask) -> Point:  # noqa: ARG002  # the same for all
        """A sharp cache, which is no worse than zero-shot on all datasets that it was tried on."""
        return {"beta": 18.0, "alpha": 12.0}

    def grid(self, task: FewShotTask) -> list[Point]:
        """Every combination; at alpha 0 every beta gives the same classifier, of which one is tried."""
        return [
            point
            for point in super().grid(task)
            if point["alpha"] > 0 or point["beta"] == self.betas[0]
        ]

    def default(self, task: FewShotTask) -> Point:
        """The point of the grid that is nearest to the defaults."""
        point = super().default(task)
        return point if point["alpha"] > 0 else {**point, "beta": self.betas[0]}

    def logits(
        self, fitted: Sequence[Fitted], features: Float[np.ndarray, "m d"]
    ) -> Iterator[Float[np.ndarray, "m c"]]:
        """The logits of one task's caches, with one product of images and keys for equal keys."""
        from clip_adapter.methods.fitting.tip_adapter import logits_of_caches

        return logits_of_caches(fitted, features)


@dataclass(frozen=True, kw_only=True)
class TipAdapter(_CacheMethod):
    """A cache of the training images beside zero-shot; nothing is trained.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.1; `CacheClassifier`
    has the formula.

    Attributes:
        alphas: candidates for the weight of the cache.
        betas: candidates for the sharpness of the cache.
        views: augmented views of each image, whose mean direction is a key; 0 for the image itself.

    Raises:
        SettingsError: a grid is empty or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter"
    most_folds: ClassVar[int] = MOST_FOLDS

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Fill the cache of each task."""
        from clip_adapter.methods.fitting.tip_adapter import cache_keys, filled_cache, weighted

        for trial in trials:
            cache = filled_cache(trial.task, cache_keys(trial.task, self.views))
            yield [
                Fitted(classifier=weighted(cache, point), settings={"views": self.views})
                for point in trial.points
            ]
            report(1)


@dataclass(frozen=True, kw_only=True)
class TipAdapterF(_CacheMethod):
    """Tip-Adapter whose keys are trained, from the cached features on.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.2: cross-entropy of
    `CacheClassifier`'s logits at `initial_alpha` and `initial_beta`, of which only the keys change;
    then alpha and beta are chosen as in Tip-Adapter.

    Attributes:
        initial_alpha: weight of the cache while the keys are trained.
        initial_beta: sharpness of the cache while the keys are trained.
        alphas: candidates for the weight of the cache after the training.
        betas: candidates for the sharpness after the training.
        views: augmented views of each image: a key starts as their mean direction, and each epoch
            visits one drawn among them; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: a grid is empty or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter-f"

    alphas: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
    betas: tuple[float, ...] = (1.0, 2.0, 3.5, 5.5, 9.0)
    initial_alpha: float = 1.0
    initial_beta: float = 5.5
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_grid("initial_alpha", (self.initial_alpha,), at_least=0.0)
        check_grid("initial_beta", (self.initial_beta,), at_least=0.0)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """Lengths, betas and alphas."""
        return {"length": self.training_of(task).distinct_lengths, **super().axes(task)}

    def defaults(self, task: FewShotTask) -> Point:
        """The whole training, and from four shots on the alpha and beta of the training."""
        beta, alpha = (
            value_at(task.shots, values)
            for values in (DEFAULT_TRAINED_BETAS, DEFAULT_TRAINED_ALPHAS)
        )
        return {"length": 1.0, "beta": beta, "alpha": alpha}

    def held_out_grid(self, task: FewShotTask) -> list[Point]:
        """The lengths, at the default alpha and beta.

        In a fold each class has a key less, so that an alpha that is right there is too large for all.
        """
        default = self.default(task)
        return [
            point
            for point in self.grid(task)
            if all(point[name] == default[name] for name in ("alpha", "beta"))
        ]

    def training_of(self, task: FewShotTask) -> Training:
        """The training of the keys of a task."""
        return self.training.resolve(RECIPES, shots=task.shots)

    def work(self, trial: Trial) -> int:
        """Epochs."""
        return stop_epochs([trial], self.training_of(trial.task))[-1]

    def most_together(self, trial: Trial) -> int:
        """How many tasks' images and keys fit into memory together, after all lengths."""
        keys = trial.task.train_features.size * (TRAINED + len(trial.distinct("length")))
        return models_in_memory(floats_of(trial.task, views=self.views) + keys)

    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Train the keys of all tasks together."""
        from clip_adapter.methods.fitting.tip_adapter import filled_cache, train_keys, weighted

        training = self.training_of(trials[0].task)
        trained, curves = train_keys(
            trials,
            training,
            alpha=self.initial_alpha,
            beta=self.initial_beta,
            views=self.views,
            device=device,
            report=report,
        )
        for number, trial in enumerate(trials):
            cache_of = {
                epochs: filled_cache(trial.task, keys[number]) for epochs, keys in trained.items()
            }
            fitted = []
            for point in trial.points:
                stopped = training.stopping_at(point["length"])
                epochs = stopped.visited_epochs
                fitted.append(
                    Fitted(
                        classifier=weighted(cache_of[epochs], point),
                        settings={"views": self.views, **stopped.settings()},
                        loss_curve=tuple(curves[number][:epochs]),
                    )
                )
            yield fitted
