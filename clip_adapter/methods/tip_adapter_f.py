"""Tip-Adapter-F: the few shots as a cache whose keys are trained."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.caches import (
    ALPHAS,
    BETAS,
    best_cache,
    cache_keys,
    check_cache_settings,
    filled_cache,
)
from clip_adapter.methods.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_grid
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import Recipe, Training, TrainingSettings, descend, mean_losses

__all__ = ["TipAdapterF"]

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
        epochs=((16, 4),),  # fewer than a fifth do not reach what the paper's reach
        batch_size=128,
    ),
}


@dataclass(frozen=True, kw_only=True)
class TipAdapterF:
    """Tip-Adapter whose keys are trained, from the cached features on.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.2: cross-entropy of
    `CacheClassifier`'s logits at `initial_alpha` and `initial_beta`, of which only the keys move;
    then alpha and beta are chosen as in Tip-Adapter.

    Attributes:
        initial_alpha: weight of the cache while the keys are trained.
        initial_beta: its sharpness then.
        alphas: candidates for the weight afterwards.
        betas: candidates for the sharpness; of several pairs validation chooses one.
        views: augmented views of each image: a key starts as their mean direction, and each epoch
            visits one drawn among them; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for an empty grid or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter-f"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    initial_alpha: float = 1.0
    initial_beta: float = 5.5
    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_cache_settings(self.alphas, self.betas, self.views)
        check_grid("initial_alpha", (self.initial_alpha,), at_least=0.0)
        check_grid("initial_beta", (self.initial_beta,), at_least=0.0)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train each task's keys, those of one shape together, then choose alpha and beta.

        Raises:
            TaskError: for a task without validation images, if there is a pair to choose, or with
                fewer views.
            DivergedError: if a loss or key stops being finite.
        """
        if len(self.alphas) * len(self.betas) > 1:
            require_validation(tasks)
        return fit_in_groups(
            lambda group, report: self._fit_group(group, device, report),
            tasks,
            progress,
            work=lambda task: self._training(task).epochs,
            at_once=lambda task: models_at_once(task.train_features.size),
        )

    def _training(self, task: FewShotTask) -> Training:
        return self.training.resolve(RECIPES, shots=task.shots)

    def _fit_group(self, tasks: list[FewShotTask], device: str, report: Report) -> list[Fitted]:
        start = time.perf_counter()
        training = self._training(tasks[0])
        data = StackedTasks.of(tasks, views=self.views, device=device)
        keys = float_tensor(np.stack([cache_keys(task, self.views) for task in tasks])).to(device)
        curves = self._train(keys, data, training, report).cpu().T.tolist()
        found = [
            best_cache(
                filled_cache(task, trained),
                task,
                alphas=self.alphas,
                betas=self.betas,
            )
            for task, trained in zip(tasks, keys.detach().cpu().numpy(), strict=True)
        ]
        seconds = (time.perf_counter() - start) / len(tasks)
        used = {"views": self.views, **training.settings()}
        return [
            replace(
                one, settings={**one.settings, **used}, loss_curve=tuple(curve), seconds=seconds
            )
            for one, curve in zip(found, curves, strict=True)
        ]

    def _train(
        self, keys: Float[Tensor, "t n d"], data: StackedTasks, training: Training, report: Report
    ) -> Float[Tensor, "e t"]:
        """Move the keys; the losses of each epoch."""
        values = torch.nn.functional.one_hot(data.labels, data.prototypes.shape[1]).to(keys.dtype)
        keys.requires_grad_()

        def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " t"]:
            images, labels = data.batch(rows)
            cosines = images @ keys.transpose(1, 2)
            of_cache = torch.exp(-self.initial_beta * (1 - cosines)) @ values
            of_text = data.logit_scale * images @ data.prototypes.transpose(1, 2)
            return mean_losses(of_text + self.initial_alpha * of_cache, labels)

        return descend([keys], losses, training, sets=data, progress=report)
