"""Fitting of TaskRes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.method import Fitted, Report
from clip_adapter.methods.selection import choose
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Training, mean_losses, train_stacked


def fit_together(  # noqa: PLR0913  # the settings, each by its name
    tasks: list[FewShotTask],
    *,
    alphas: Sequence[float],
    views: int,
    training: Training,
    device: str,
    report: Report,
) -> list[Fitted]:
    """Train the residuals of all tasks at all alphas, then choose an alpha for each task."""
    data = StackedTasks.of(tasks, views=views, device=device)
    learned, curves = _learn(torch.tensor(alphas, device=device), data, training, report)
    found = [
        _choose(alphas, task, prototypes, curve)
        for task, prototypes, curve in zip(tasks, learned, curves, strict=True)
    ]
    used = {"views": views, **training.settings()}
    return [replace(one, settings={**one.settings, **used}) for one in found]


def _choose(
    alphas: Sequence[float],
    task: FewShotTask,
    learned: Float[Tensor, "a c d"],
    curves: Float[Tensor, "a e"],
) -> Fitted:
    classifiers = [
        PrototypeClassifier(
            class_prototypes=prototypes.numpy(),
            logit_scale=task.logit_scale,
            class_names=task.class_names,
        )
        for prototypes in learned
    ]
    settings = [{"alpha": alpha} for alpha in alphas]
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
    """Learn the prototypes of each task at each alpha; returns them and their losses, on the CPU."""
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

    curves = train_stacked([residuals], losses, training, sets=data, progress=report)
    return prototypes().detach().cpu(), curves.cpu().T.reshape(n_tasks, n_alphas, -1)
