"""TaskRes: what a task adds to the class prototypes, learned beside them."""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.fitting.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import choose
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.task_res import TaskRes
from clip_adapter.training import Recipe, Training, descend, mean_losses

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


def fit(
    method: TaskRes, tasks: Sequence[FewShotTask], *, device: str, progress: Progress | None
) -> list[Fitted]:
    """What `TaskRes.fit` promises."""
    if len(method.alphas) > 1:
        require_validation(tasks)
    return fit_in_groups(
        lambda group, report: _fit_group(method, group, device, report),
        tasks,
        progress,
        work=lambda task: _training(method, task).epochs * len(method.alphas),
        at_once=lambda task: models_at_once(task.class_prototypes.size * len(method.alphas)),
    )


def _training(method: TaskRes, task: FewShotTask) -> Training:
    return method.training.resolve(RECIPES, shots=task.shots)


def _fit_group(
    method: TaskRes, tasks: list[FewShotTask], device: str, report: Report
) -> list[Fitted]:
    start = time.perf_counter()
    data = StackedTasks.of(tasks, views=method.views, device=device)
    training = _training(method, tasks[0])
    alphas = torch.tensor(method.alphas, device=device)
    learned, curves = _learn(alphas, data, training, report)
    found = [
        _choose(method, task, prototypes, curve)
        for task, prototypes, curve in zip(tasks, learned, curves, strict=True)
    ]
    used = {"views": method.views, **training.settings()}
    seconds = (time.perf_counter() - start) / len(tasks)
    return [replace(one, settings={**one.settings, **used}, seconds=seconds) for one in found]


def _choose(
    method: TaskRes,
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
    settings = [{"alpha": alpha} for alpha in method.alphas]
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
