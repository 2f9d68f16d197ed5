"""TaskRes: what a task adds to the class prototypes, learned beside them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count, check_grid, choose
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.training import Recipe, Training, TrainingSettings, descend, mean_losses

__all__ = ["TaskRes"]

RECIPES = {
    # Yu et al. 2023, section 4.1, with the warm-up epoch of CoOp's trainer it runs in.
    "paper": Recipe(
        optimizer="adam",
        learning_rate=2e-3,
        weight_decay=5e-4,
        epochs=((4, 100), (16, 200)),
        batch_size=256,
        warmup_epochs=1,
        schedule="epochs",
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=2e-2,
        weight_decay=1.0,
        epochs=((1, 20), (2, 12), (4, 8), (16, 10)),
        batch_size=64,
    ),
}


@dataclass(frozen=True, kw_only=True)
class TaskRes:
    """A residual of each class prototype, learned from zero.

    `w'_c = w_c + alpha * x_c`, trained by cross-entropy of `logit_scale * cos(f, w'_c)` (Yu et
    al. 2023, https://arxiv.org/abs/2211.10277, section 3.2). Here w has length 1. The authors'
    is as long as the encoder makes it, and of length s it learns with alpha what a w of length 1
    learns with alpha / s: CLIP's text features have lengths of about 10, so that the smallest of
    our candidates is nearest their 0.5.

    Attributes:
        alphas: candidates for alpha, all trained together; of several validation chooses one.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for an empty grid or a number below 0.
    """

    name: ClassVar[str] = "task-res"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    alphas: tuple[float, ...] = (0.05, 0.1, 0.5, 1.0)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train the residuals of each task at each alpha, then keep each task's best.

        Raises:
            TaskError: for a task without validation images, if there is an alpha to choose, or
                with fewer views.
            DivergedError: if a loss or residual stops being finite.
        """
        if len(self.alphas) > 1:
            require_validation(tasks)
        return fit_in_groups(
            lambda group, report: self._fit_group(group, device, report),
            tasks,
            progress,
            work=lambda task: self._training(task).epochs * len(self.alphas),
            at_once=lambda task: models_at_once(task.class_prototypes.size * len(self.alphas)),
        )

    def _training(self, task: FewShotTask) -> Training:
        return self.training.resolve(RECIPES, shots=task.shots)

    def _fit_group(self, tasks: list[FewShotTask], device: str, report: Report) -> list[Fitted]:
        start = time.perf_counter()
        data = StackedTasks.of(tasks, views=self.views, device=device)
        training = self._training(tasks[0])
        alphas = torch.tensor(self.alphas, device=device)
        learned, curves = _learn(alphas, data, training, report)
        found = [
            self._choose(task, prototypes, curve)
            for task, prototypes, curve in zip(tasks, learned, curves, strict=True)
        ]
        used = {"views": self.views, **training.settings()}
        seconds = (time.perf_counter() - start) / len(tasks)
        return [replace(one, settings={**one.settings, **used}, seconds=seconds) for one in found]

    def _choose(
        self, task: FewShotTask, learned: Float[Tensor, "a c d"], curves: Float[Tensor, "a e"]
    ) -> Fitted:
        classifiers = [
            PrototypeClassifier(
                class_prototypes=prototypes.numpy(),
                logit_scale=task.logit_scale,
                class_names=task.class_names,
            )
            for prototypes in learned
        ]
        settings = [{"alpha": alpha} for alpha in self.alphas]
        choice = choose(classifiers, task, settings)
        return Fitted(
            classifier=classifiers[choice.number],
            settings=settings[choice.number],
            selected_on=choice.selected_on,
            candidates=choice.candidates,
            loss_curve=tuple(curves[choice.number].tolist()),
        )


def _learn(
    alphas: Float[Tensor, " a"], data: StackedTasks, training: Training, report: Report
) -> tuple[Float[Tensor, "t a c d"], Float[Tensor, "t a e"]]:
    """The prototypes of each task at each alpha, and their losses, on the CPU."""
    n_tasks, n_alphas = len(data.prototypes), len(alphas)
    residuals = torch.zeros_like(data.prototypes.repeat_interleave(n_alphas, dim=0))
    residuals.requires_grad_()

    def prototypes() -> Float[Tensor, "t a c d"]:
        added = alphas[:, None, None] * residuals.view(n_tasks, n_alphas, *residuals.shape[1:])
        return torch.nn.functional.normalize(data.prototypes[:, None] + added, dim=-1)

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        images, labels = data.batch(rows)
        scores = data.logit_scale * images[:, None] @ prototypes().transpose(2, 3)
        return mean_losses(scores.flatten(0, 1), labels.repeat_interleave(n_alphas, dim=0))

    curves = descend([residuals], losses, training, sets=data, progress=report)
    return prototypes().detach().cpu(), curves.cpu().T.reshape(n_tasks, n_alphas, -1)
