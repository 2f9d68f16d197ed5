"""Tip-Adapter-F: the few shots as a cache whose keys are trained."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.fitting.caches import (
    best_cache,
    cache_keys,
    filled_cache,
)
from clip_adapter.methods.fitting.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.methods.tip_adapter_f import TipAdapterF
from clip_adapter.training import Recipe, Training, descend, mean_losses

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


def fit(
    method: TipAdapterF, tasks: Sequence[FewShotTask], *, device: str, progress: Progress | None
) -> list[Fitted]:
    """What `TipAdapterF.fit` promises."""
    if len(method.alphas) * len(method.betas) > 1:
        require_validation(tasks)
    return fit_in_groups(
        lambda group, report: _fit_group(method, group, device, report),
        tasks,
        progress,
        work=lambda task: _training(method, task).epochs,
        at_once=lambda task: models_at_once(task.train_features.size),
    )


def _training(method: TipAdapterF, task: FewShotTask) -> Training:
    return method.training.resolve(RECIPES, shots=task.shots)


def _fit_group(
    method: TipAdapterF, tasks: list[FewShotTask], device: str, report: Report
) -> list[Fitted]:
    start = time.perf_counter()
    training = _training(method, tasks[0])
    data = StackedTasks.of(tasks, views=method.views, device=device)
    keys = float_tensor(np.stack([cache_keys(task, method.views) for task in tasks])).to(device)
    curves = _train(method, keys, data, training, report).cpu().T.tolist()
    found = [
        best_cache(
            filled_cache(task, trained),
            task,
            alphas=method.alphas,
            betas=method.betas,
        )
        for task, trained in zip(tasks, keys.detach().cpu().numpy(), strict=True)
    ]
    seconds = (time.perf_counter() - start) / len(tasks)
    used = {"views": method.views, **training.settings()}
    return [
        replace(one, settings={**one.settings, **used}, loss_curve=tuple(curve), seconds=seconds)
        for one, curve in zip(found, curves, strict=True)
    ]


def _train(
    method: TipAdapterF,
    keys: Float[Tensor, "t n d"],
    data: StackedTasks,
    training: Training,
    report: Report,
) -> Float[Tensor, "e t"]:
    """Move the keys; the losses of each epoch."""
    values = torch.nn.functional.one_hot(data.labels, data.prototypes.shape[1]).to(keys.dtype)
    keys.requires_grad_()

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " t"]:
        images, labels = data.batch(rows)
        cosines = images @ keys.transpose(1, 2)
        of_cache = torch.exp(-method.initial_beta * (1 - cosines)) @ values
        of_text = data.logit_scale * images @ data.prototypes.transpose(1, 2)
        return mean_losses(of_text + method.initial_alpha * of_cache, labels)

    return descend([keys], losses, training, sets=data, progress=report)
