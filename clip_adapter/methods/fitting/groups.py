"""Tasks that can be trained in one tensor program, found and put side by side."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor

Report = Callable[[int], None]
"""Called with the units of work that were just done."""
FLOATS_AT_ONCE = 2**27
"""Weights of all models of a group, 512 MB; a group of one task may have more."""


def shape_of(task: FewShotTask) -> Hashable:
    """Equal for tasks whose arrays can be stacked and whose logits are scaled alike."""
    return task.shots, task.train_features.shape, task.prompt_features.shape, task.logit_scale


def models_at_once(n_weights: int) -> int:
    """How many models of so many weights each fit into memory together."""
    return FLOATS_AT_ONCE // n_weights


def fit_in_groups(  # noqa: PLR0913  # what a method says of its tasks, each by its name
    fit: Callable[[list[FewShotTask], Report], list[Fitted]],
    tasks: Sequence[FewShotTask],
    progress: Progress | None,
    *,
    work: Callable[[FewShotTask], int],
    at_once: Callable[[FewShotTask], int],
    kind: Callable[[FewShotTask], Hashable] = shape_of,
) -> list[Fitted]:
    """Fit tasks of one kind together, and give what was fitted back in the order of the tasks.

    Args:
        fit: fits tasks of one kind, and reports units of work as they are done.
        tasks: of any kinds.
        progress: told the fraction of all units.
        work: units that a task takes.
        at_once: how many tasks like this one are fitted together at most.
        kind: equal for tasks that can be fitted together; their shape, where nothing else counts.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for number, task in enumerate(tasks):
        groups[kind(task)].append(number)
    total = sum(work(task) for task in tasks)

    def report(units: int) -> None:
        if progress is not None:
            progress(units / total)

    fitted: dict[int, Fitted] = {}
    for numbers in groups.values():
        size = max(1, at_once(tasks[numbers[0]]))
        for first in range(0, len(numbers), size):
            some = numbers[first : first + size]
            fitted.update(zip(some, fit([tasks[one] for one in some], report), strict=True))
    return [fitted[number] for number in range(len(tasks))]


@dataclass(frozen=True, kw_only=True)
class StackedTasks:
    """Tasks of one shape side by side, every feature scaled to length 1.

    Attributes:
        directions: of the training images, view after view where there are several.
        labels: class numbers of the images, in the order of each view.
        prototypes: of the classes.
        logit_scale: CLIP's inverse temperature.
        seeds: one a task.
        views: augmented views of each image; 0 for the image itself.
    """

    directions: Float[Tensor, "t rows d"]
    labels: Int[Tensor, "t n"]
    prototypes: Float[Tensor, "t c d"]
    logit_scale: float
    seeds: list[int]
    views: int

    @classmethod
    def of(
        cls, tasks: Sequence[FewShotTask], *, views: int = 0, device: str = "cpu"
    ) -> "StackedTasks":
        """Put tasks of one shape side by side.

        Raises:
            TaskError: if a task has fewer views.
        """
        rows = float_tensor(np.stack([task.training_rows(views) for task in tasks]))
        labels = np.stack([task.train_labels for task in tasks]).astype(np.int64)
        prototypes = float_tensor(np.stack([task.class_prototypes for task in tasks]))
        return cls(
            directions=torch.nn.functional.normalize(rows, dim=-1).to(device),
            labels=torch.from_numpy(labels).to(device),
            prototypes=prototypes.to(device),
            logit_scale=tasks[0].logit_scale,
            seeds=[task.seed for task in tasks],
            views=views,
        )

    @property
    def n_images(self) -> int:
        """Images of each task."""
        return self.labels.shape[1]

    def batch(self, rows: Int[Tensor, "t b"]) -> tuple[Float[Tensor, "t b d"], Int[Tensor, "t b"]]:
        """The directions and labels of some rows of each task."""
        rows = rows.to(self.labels.device)
        each = torch.arange(len(rows), device=rows.device)[:, None]
        return self.directions[each, rows], self.labels[each, rows % self.n_images]
