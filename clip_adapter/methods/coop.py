"""CoOp: prompts learned by gradient descent through the frozen text tower."""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.contexts import (
    ClassPosition,
    Contexts,
    context_of_noise,
    context_of_words,
)
from clip_adapter.methods.groups import Report, StackedTasks, fit_in_groups, shape_of
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.recipes import COOP_TRAINER
from clip_adapter.methods.task import FewShotTask, TaskError
from clip_adapter.methods.text_tower import TextTower
from clip_adapter.training import (
    Recipe,
    SettingsError,
    Training,
    TrainingSettings,
    descend,
    mean_losses,
)

__all__ = ["CoOp"]

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


@dataclass(frozen=True, kw_only=True)
class CoOp:
    """Learned context tokens before (or around) the class name.

    `w_c = text_tower([V]1 ... [V]M, CLASS_c, .)`, trained by cross-entropy of
    `logit_scale * cos(f, w_c)` on cached image features (Zhou et al. 2022,
    https://arxiv.org/abs/2109.01134, section 3.2). Nothing is selected. What is learned ends as
    class prototypes, which need the tower no more.

    Attributes:
        n_context: context tokens M; ignored where words start the context.
        class_position: the class name stands at the end, or in the middle.
        class_specific: each class has contexts of its own (CSC), instead of one for all.
        context_init: words the context starts from; noise of deviation 0.02 where empty.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for a number outside its range.
    """

    name: ClassVar[str] = "coop"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = True

    n_context: int = 16
    class_position: ClassPosition = "end"
    class_specific: bool = False
    context_init: str = ""
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        for name, smallest in (("n_context", 1), ("views", 0)):
            if getattr(self, name) < smallest:
                message = f"{name} is {getattr(self, name)}; expected {smallest} or more"
                raise SettingsError(message)
        if self.context_init and not self.context_init.strip():
            message = "context_init holds no word: leave it empty to start from noise"
            raise SettingsError(message)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # where the text tower is
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Learn each task's context; tasks of one size share the batches of the tower.

        Raises:
            TaskError: for a task without a text tower or views, or a prompt too long for it.
            DivergedError: if a loss or context stops being finite.
        """
        return fit_in_groups(
            self._fit_group,
            tasks,
            progress,
            work=lambda task: self._training(task).epochs,
            at_once=lambda task: PROMPTS_AT_ONCE // len(task.class_names),
            kind=_kind,
        )

    def _training(self, task: FewShotTask) -> Training:
        return self.training.resolve(_recipes_for(task.shots), shots=task.shots)

    def _fit_group(self, tasks: list[FewShotTask], report: Report) -> list[Fitted]:
        start = time.perf_counter()
        tower = _tower(tasks[0])
        initial = self._initial(tasks, tower)
        room = Contexts.around(
            tasks[0].class_names,
            tower,
            n_context=initial.shape[2],
            class_position=self.class_position,
        )
        training = self._training(tasks[0])
        data = StackedTasks.of(tasks, views=self.views, device=str(initial.device))
        curves = _learn(initial, room, data, training, report)
        with torch.no_grad():
            learned = room.prototypes(initial).cpu().numpy()
        seconds = (time.perf_counter() - start) / len(tasks)
        settings = self._settings(initial.shape[2]) | training.settings()
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

    def _initial(self, tasks: list[FewShotTask], tower: TextTower) -> Float[Tensor, "g k m w"]:
        owners = tasks[0].class_names if self.class_specific else ("",)
        if self.context_init:
            words = context_of_words(self.context_init, tower)
            return words.expand(len(tasks), len(owners), -1, -1).clone()
        shape = (self.n_context, tower.token_width)
        drawn = [[context_of_noise(task.seed, owner, shape) for owner in owners] for task in tasks]
        contexts = torch.stack([torch.stack(each) for each in drawn])
        return contexts.to(tower.embed(["."])[0].device)

    def _settings(self, n_context: int) -> dict[str, float | int | str | bool]:
        return {
            "n_context": n_context,
            "class_position": self.class_position,
            "class_specific": self.class_specific,
            "context_init": self.context_init,
            "views": self.views,
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
