"""Cross-modal linear probe: prompts are training samples of their class, like images."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.cross_modal import CrossModalProbe
from clip_adapter.methods.fitting.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import choose
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import Recipe, Training, descend, mean_losses

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


def fit(
    method: CrossModalProbe, tasks: Sequence[FewShotTask], *, device: str, progress: Progress | None
) -> list[Fitted]:
    """What `CrossModalProbe.fit` promises."""
    if len(_grid(method)) > 1:
        require_validation(tasks)
    return fit_in_groups(
        lambda group, report: _fit_group(method, group, device, report),
        tasks,
        progress,
        work=lambda task: sum(training.epochs for training in _trainings(method, task)),
        at_once=lambda task: models_at_once(task.class_prototypes.size),
    )


def _grid(method: CrossModalProbe) -> list[tuple[float, float]]:
    rate, decay = method.training.learning_rate, method.training.weight_decay
    rates = method.learning_rates if rate is None else (rate,)
    decays = method.weight_decays if decay is None else (decay,)
    return list(product(rates, decays))


def _trainings(method: CrossModalProbe, task: FewShotTask) -> list[Training]:
    """One a point of the grid."""
    resolved = method.training.resolve(RECIPES, shots=task.shots)
    if method.training.epochs is None:
        steps = math.ceil(len(task.train_labels) / resolved.batch_size)
        resolved = replace(resolved, epochs=math.ceil(STEPS[resolved.recipe] / steps))
    return [
        replace(resolved, learning_rate=rate, weight_decay=decay) for rate, decay in _grid(method)
    ]


def _fit_group(
    method: CrossModalProbe, tasks: list[FewShotTask], device: str, report: Report
) -> list[Fitted]:
    start = time.perf_counter()
    data = StackedTasks.of(tasks, views=method.views, device=device)
    prompts = float_tensor(np.stack([task.prompt_features for task in tasks])).to(device)
    prompts = torch.nn.functional.normalize(prompts, dim=-1)
    trainings = _trainings(method, tasks[0])
    learned = [_learn(data, prompts, training, report) for training in trainings]
    heads = torch.stack([weights for weights, _ in learned], dim=1).cpu()
    curves = torch.stack([losses.T for _, losses in learned], dim=1).cpu()
    found = [
        _choose(method, task, trainings, heads[number], curves[number])
        for number, task in enumerate(tasks)
    ]
    seconds = (time.perf_counter() - start) / len(tasks)
    return [replace(one, seconds=seconds) for one in found]


def _choose(
    method: CrossModalProbe,
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
    tried = [{"learning_rate": rate, "weight_decay": decay} for rate, decay in _grid(method)]
    choice = choose(classifiers, task, tried)
    return Fitted(
        classifier=classifiers[choice.number],
        settings={"views": method.views, **trainings[choice.number].settings()},
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
