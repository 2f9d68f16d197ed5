"""Cross-modal linear probe: prompts are training samples of their class, like images."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count, check_grid, choose
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import Recipe, Training, TrainingSettings, descend, mean_losses

__all__ = ["CrossModalProbe"]

RECIPES = {
    # Lin et al. 2023, appendix: AdamW along a cosine, in batches of 8, half of them texts.
    "paper": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 1),),  # as many as make up STEPS
        batch_size=4,
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 1),),
        batch_size=32,
    ),
}
STEPS = {"paper": 12800, "fast": 1280}
"""Of a training whose epochs are not given; the paper counts steps."""


@dataclass(frozen=True, kw_only=True)
class CrossModalProbe:
    """A linear head on image and text features alike, which starts as zero-shot.

    `logit_scale * f . w_c` with f of length 1, w from the class prototypes on, trained by
    cross-entropy of batches of which half are images, half prompts (Lin et al. 2023,
    https://arxiv.org/abs/2301.06267, section 3). Each image of a batch comes with a prompt of its
    class, drawn anew; the paper draws prompts and images apart.

    Attributes:
        learning_rates: candidates; a rate given to the training leaves only that.
        weight_decays: candidates; a decay given to the training leaves only that. Of several
            pairs validation chooses one.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length; batch_size counts images, so half of what a step
            sees.

    Raises:
        SettingsError: for an empty grid or a number out of range.
    """

    name: ClassVar[str] = "cross-modal-probe"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    learning_rates: tuple[float, ...] = (1e-3, 1e-4)
    weight_decays: tuple[float, ...] = (1e-2,)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("learning_rates", self.learning_rates, at_least=1e-15)
        check_grid("weight_decays", self.weight_decays, at_least=0.0)
        check_count("views", self.views)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train a head a task and pair of rate and decay, then keep each task's best.

        Raises:
            TaskError: for a task without validation images, if there is a pair to choose, or with
                fewer views.
            DivergedError: if a loss or weight stops being finite.
        """
        if len(self._grid()) > 1:
            require_validation(tasks)
        return fit_in_groups(
            lambda group, report: self._fit_group(group, device, report),
            tasks,
            progress,
            work=lambda task: sum(training.epochs for training in self._trainings(task)),
            at_once=lambda task: models_at_once(task.class_prototypes.size),
        )

    def _grid(self) -> list[tuple[float, float]]:
        rate, decay = self.training.learning_rate, self.training.weight_decay
        rates = self.learning_rates if rate is None else (rate,)
        decays = self.weight_decays if decay is None else (decay,)
        return list(product(rates, decays))

    def _trainings(self, task: FewShotTask) -> list[Training]:
        """One a point of the grid."""
        resolved = self.training.resolve(RECIPES, shots=task.shots)
        if self.training.epochs is None:
            steps = math.ceil(len(task.train_labels) / resolved.batch_size)
            resolved = replace(resolved, epochs=math.ceil(STEPS[resolved.recipe] / steps))
        return [
            replace(resolved, learning_rate=rate, weight_decay=decay)
            for rate, decay in self._grid()
        ]

    def _fit_group(self, tasks: list[FewShotTask], device: str, report: Report) -> list[Fitted]:
        start = time.perf_counter()
        data = StackedTasks.of(tasks, views=self.views, device=device)
        prompts = float_tensor(np.stack([task.prompt_features for task in tasks])).to(device)
        prompts = torch.nn.functional.normalize(prompts, dim=-1)
        trainings = self._trainings(tasks[0])
        learned = [_learn(data, prompts, training, report) for training in trainings]
        heads = torch.stack([weights for weights, _ in learned], dim=1).cpu()
        curves = torch.stack([losses.T for _, losses in learned], dim=1).cpu()
        found = [
            self._choose(task, trainings, heads[number], curves[number])
            for number, task in enumerate(tasks)
        ]
        seconds = (time.perf_counter() - start) / len(tasks)
        return [replace(one, seconds=seconds) for one in found]

    def _choose(
        self,
        task: FewShotTask,
        trainings: list[Training],
        heads: Float[Tensor, "p c d"],
        curves: Float[Tensor, "p e"],
    ) -> Fitted:
        classifiers = [
            LinearClassifier(
                weight=(task.logit_scale * weights).numpy(),
                bias=np.zeros(len(weights), dtype=np.float32),
                class_names=task.class_names,
            )
            for weights in heads
        ]
        tried = [{"learning_rate": rate, "weight_decay": decay} for rate, decay in self._grid()]
        choice = choose(classifiers, task, tried)
        return Fitted(
            classifier=classifiers[choice.number],
            settings={"views": self.views, **trainings[choice.number].settings()},
            selected_on=choice.selected_on,
            candidates=choice.candidates,
            loss_curve=tuple(curves[choice.number].tolist()),
        )


def _learn(
    data: StackedTasks, prompts: Float[Tensor, "g c p d"], training: Training, report: Report
) -> tuple[Float[Tensor, "g c d"], Float[Tensor, "e g"]]:
    """A head a task, and its losses."""
    weights = data.prototypes.clone().requires_grad_()
    generators = [torch.Generator().manual_seed(seed) for seed in data.seeds]
    models, n_prompts = torch.arange(len(weights))[:, None], prompts.shape[2]

    def losses(rows: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
        images, labels = data.batch(rows)
        drawn = [
            torch.randint(n_prompts, rows.shape[1:], generator=generator)
            for generator in generators
        ]
        texts = prompts[models.to(labels.device), labels, torch.stack(drawn).to(labels.device)]
        samples = torch.cat([images, texts], dim=1)
        scores = data.logit_scale * samples @ weights.transpose(1, 2)
        return mean_losses(scores, labels.repeat(1, 2))

    curves = descend([weights], losses, training, sets=data, progress=report)
    return weights.detach(), curves
