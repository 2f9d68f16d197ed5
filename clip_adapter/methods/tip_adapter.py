"""Tip-Adapter and Tip-Adapter-F: the few shots as a cache, as they are or with trained keys."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from clip_adapter.methods.method import (
    Fitted,
    PerTaskMethod,
    Report,
    StackedMethod,
    models_in_memory,
)
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Recipe, Training, TrainingSettings

ALPHAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)
BETAS = (1.0, 2.0, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0)
"""Coarser than the authors' search of 200 betas and 20 alphas, whose ranges differ by dataset: up to
7 and 3 for most, 12 and 10 for EuroSAT (https://github.com/gaopengcuhk/Tip-Adapter, configs)."""
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
class TipAdapter(PerTaskMethod):
    """A cache of the training images beside zero-shot; nothing is trained.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.1; `CacheClassifier`
    has the formula.

    Attributes:
        alphas: candidates for the weight of the cache.
        betas: candidates for the sharpness of the cache; validation chooses a pair.
        views: augmented views of each image, whose mean direction is a key; 0 for the image itself.

    Raises:
        SettingsError: a grid is empty or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter"

    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    views: int = 0

    def __post_init__(self) -> None:
        _check_cache_settings(self.alphas, self.betas, self.views)

    @property
    def n_candidates(self) -> int:
        """Number of pairs of alpha and beta."""
        return len(self.alphas) * len(self.betas)

    def fit_task(self, task: FewShotTask) -> Fitted:
        """Fill the cache, then choose alpha and beta."""
        from clip_adapter.methods.fitting.tip_adapter import best_cache, cache_keys, filled_cache

        cache = filled_cache(task, cache_keys(task, self.views))
        found = best_cache(cache, task, alphas=self.alphas, betas=self.betas)
        return replace(found, settings={**found.settings, "views": self.views})


@dataclass(frozen=True, kw_only=True)
class TipAdapterF(StackedMethod):
    """Tip-Adapter whose keys are trained, from the cached features on.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.2: cross-entropy of
    `CacheClassifier`'s logits at `initial_alpha` and `initial_beta`, of which only the keys change;
    then alpha and beta are chosen as in Tip-Adapter.

    Attributes:
        initial_alpha: weight of the cache while the keys are trained.
        initial_beta: sharpness of the cache while the keys are trained.
        alphas: candidates for the weight of the cache after the training.
        betas: candidates for the sharpness after the training; validation chooses a pair.
        views: augmented views of each image: a key starts as their mean direction, and each epoch
            visits one drawn among them; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: a grid is empty or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter-f"

    initial_alpha: float = 1.0
    initial_beta: float = 5.5
    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        _check_cache_settings(self.alphas, self.betas, self.views)
        check_grid("initial_alpha", (self.initial_alpha,), at_least=0.0)
        check_grid("initial_beta", (self.initial_beta,), at_least=0.0)

    @property
    def n_candidates(self) -> int:
        """Number of pairs of alpha and beta."""
        return len(self.alphas) * len(self.betas)

    def training_of(self, task: FewShotTask) -> Training:
        """The training of the keys of a task."""
        return self.training.resolve(RECIPES, shots=task.shots)

    def work(self, task: FewShotTask) -> int:
        """Epochs."""
        return self.training_of(task).epochs

    def most_together(self, task: FewShotTask) -> int:
        """How many tasks' keys fit into memory together."""
        return models_in_memory(task.train_features.size)

    def fit_together(
        self, tasks: list[FewShotTask], *, device: str, report: Report
    ) -> list[Fitted]:
        """Train the keys of all tasks, then choose alpha and beta of each."""
        from clip_adapter.methods.fitting.tip_adapter import best_cache, filled_cache, train_keys

        training = self.training_of(tasks[0])
        trained, curves = train_keys(
            tasks,
            training,
            alpha=self.initial_alpha,
            beta=self.initial_beta,
            views=self.views,
            device=device,
            report=report,
        )
        used = {"views": self.views, **training.settings()}
        fitted = []
        for task, keys, curve in zip(tasks, trained, curves, strict=True):
            cache = filled_cache(task, keys)
            one = best_cache(cache, task, alphas=self.alphas, betas=self.betas)
            settings = {**one.settings, **used}
            fitted.append(replace(one, settings=settings, loss_curve=tuple(curve)))
        return fitted


def _check_cache_settings(alphas: Sequence[float], betas: Sequence[float], views: int) -> None:
    check_grid("alphas", alphas, at_least=0.0)
    check_grid("betas", betas, at_least=0.0)
    check_count("views", views)
