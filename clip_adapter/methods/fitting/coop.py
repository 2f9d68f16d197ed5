"""CoOp: prompts learned by gradient descent through the frozen text tower."""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.coop import CoOp
from clip_adapter.methods.fitting.contexts import (
    Contexts,
    context_of_noise,
    context_of_words,
)
from clip_adapter.methods.fitting.groups import Report, StackedTasks, fit_in_groups, shape_of
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask, TaskError, TextTower
from clip_adapter.training import (
    COOP_TRAINER,
    Recipe,
    Training,
    descend,
    mean_losses,
)

# Found on validation images of digits and EuroSAT; docs/notebook.md has the figures. A step costs the
# same whatever the batch of images: so batches are large, and few steps have to do.
FAST = Recipe(
    optimizer="adamw",
    learning_rate=1e-2,
    weight_decay=10.0,
    epochs=((1, 10), (2, 15), (4, 20), (8, 60), (16, 90)),
    batch_size=160,
)
FAST_FEW = replace(FAST, learning_rate=5e-3)
MOST_OF_FEW = 4
PROMPTS_AT_ONCE = 256
"""Prompts of all models in one step; more only cost memory."""


def fit(method: CoOp, tasks: Sequence[FewShotTask], *, progress: Progress | None) -> list[Fitted]:
    """What `CoOp.fit` promises."""
    return fit_in_groups(
        partial(_fit_group, method),
        tasks,
        progress,
        work=lambda task: _training(method, task).epochs,
        at_once=lambda task: PROMPTS_AT_ONCE // len(task.class_names),
        kind=_kind,
    )


def _training(method: CoOp, task: FewShotTask) -> Training:
    return method.training.resolve(_recipes_for(task.shots), shots=task.shots)


def _fit_group(method: CoOp, tasks: list[FewShotTask], report: Report) -> list[Fitted]:
    start = time.perf_counter()
    tower = _tower(tasks[0])
    initial = _initial(method, tasks, tower)
    room = Contexts.around(
        tasks[0].class_names,
        tower,
        n_context=initial.shape[2],
        class_position=method.class_position,
    )
    training = _training(method, tasks[0])
    data = StackedTasks.of(tasks, views=method.views, device=str(initial.device))
    curves = _learn(initial, room, data, training, report)
    with torch.no_grad():
        learned = room.prototypes(initial).cpu().numpy()
    seconds = (time.perf_counter() - start) / len(tasks)
    settings = _settings(method, initial.shape[2]) | training.settings()
    return [
        Fitted(
            classifier=PrototypeClassifier(
                class_prototypes=prototypes,
                logit_scale=task.logit_scale,
                class_names=task.class_names,
            ),
            settings=settings,
            loss_curve=tuple(curve),
            seconds=seconds,
        )
        for task, prototypes, curve in zip(tasks, learned, curves.cpu().T.tolist(), strict=True)
    ]


def _initial(method: CoOp, tasks: list[FewShotTask], tower: TextTower) -> Float[Tensor, "g k m w"]:
    owners = tasks[0].class_names if method.class_specific else ("",)
    if method.context_init:
        words = context_of_words(method.context_init, tower)
        return words.expand(len(tasks), len(owners), -1, -1).clone()
    shape = (method.n_context, tower.token_width)
    drawn = [[context_of_noise(task.seed, owner, shape) for owner in owners] for task in tasks]
    contexts = torch.stack([torch.stack(each) for each in drawn])
    return contexts.to(tower.embed(["."])[0].device)


def _settings(method: CoOp, n_context: int) -> dict[str, float | int | str | bool]:
    return {
        "n_context": n_context,
        "class_position": method.class_position,
        "class_specific": method.class_specific,
        "context_init": method.context_init,
        "views": method.views,
    }


def _recipes_for(shots: int) -> Mapping[str, Recipe]:
    return {"paper": COOP_TRAINER, "fast": FAST_FEW if shots <= MOST_OF_FEW else FAST}


def _learn(
    contexts: Float[Tensor, "g k m w"],
    room: Contexts,
    data: StackedTasks,
    training: Training,
    report: Report,
) -> Float[Tensor, "e g"]:
    """Train the contexts in place; the losses of each epoch."""
    contexts.requires_grad_()

    def losses(rows: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
        directions, labels = data.batch(rows)
        prototypes = torch.nn.functional.normalize(room.prototypes(contexts), dim=-1)
        scores = data.logit_scale * directions @ prototypes.transpose(1, 2)
        return mean_losses(scores, labels)

    return descend([contexts], losses, training, sets=data, progress=report)


def _tower(task: FewShotTask) -> TextTower:
    if task.text_tower is None:
        message = (
            "coop learns prompts through a text tower, and this task has none, as it is with "
            "features that were imported: train on images, with --model, or leave coop out"
        )
        raise TaskError(message)
    return task.text_tower


def _kind(task: FewShotTask) -> Hashable:
    """Equal for tasks whose models fit into one batch of the tower."""
    return shape_of(task), task.class_names, id(task.text_tower)
