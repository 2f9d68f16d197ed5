"""Fitting of the cross-modal linear probe."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.method import Fitted, Report
from clip_adapter.methods.selection import choose
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import Training, mean_losses, train_stacked


def fit_together(
    tasks: list[FewShotTask],
    trainings: list[Training],
    *,
    views: int,
    device: str,
    report: Report,
) -> list[Fitted]:
    """Train a head for each task and training, then choose a training for each task."""
    data = StackedTasks.of(tasks, views=views, device=device)
    prompts = float_tensor(np.stack([task.prompt_features for task in tasks])).to(device)
    prompts = torch.nn.functional.normalize(prompts, dim=-1)
    learned = [_learn(data, prompts, training, report) for training in trainings]
    heads = torch.stack([weights for weights, _ in learned], dim=1).cpu()
    curves = torch.stack([losses.T for _, losses in learned], dim=1).cpu()
    found = [
        _choose(task, trainings, heads[number], curves[number]) for number, task in enumerate(tasks)
    ]
    return [replace(one, settings={"views": views, **one.settings}) for one in found]


def _choose(
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
    tried = [
        {"learning_rate": each.learning_rate, "weight_decay": each.weight_decay}
        for each in trainings
    ]
    choice = choose(classifiers, task, tried)
    return Fitted(
        classifier=classifiers[choice.number],
        settings=trainings[choice.number].settings(),
        selected_on=choice.selected_on,
        candidates=choice.candidates,
        loss_curve=tuple(curves[choice.number].tolist()),
    )


def _learn(
    data: StackedTasks, prompts: Float[Tensor, "g c p d"], training: Training, report: Report
) -> tuple[Float[Tensor, "g c d"], Float[Tensor, "e g"]]:
    """Train a head for each task; returns the heads and their losses."""
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

    curves = train_stacked([weights], losses, training, sets=data, progress=report)
    return weights.detach(), curves
