"""CLIP-Adapter on the visual branch, every shot, seed and ratio in few tensor programs."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from clip_adapter.adapters import ResidualAdapter, StackedAdapters
from clip_adapter.methods.classifiers import AdapterClassifier
from clip_adapter.methods.method import Candidate, Fitted, Progress, best_candidate, judge
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import (
    Recipe,
    SettingsError,
    StackedData,
    Training,
    TrainingSettings,
    train_stack,
)

__all__ = ["ClipAdapter"]

RECIPES = {
    # CoOp's trainer, on which CLIP-Adapter is built (https://arxiv.org/abs/2109.01134, 4.1).
    "paper": Recipe(
        optimizer="sgd",
        learning_rate=2e-3,
        weight_decay=5e-4,
        momentum=0.9,
        epochs=((1, 50), (4, 100), (16, 200)),
        batch_size=32,
        warmup_epochs=1,
        schedule="epochs",
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=3e-3,
        weight_decay=1e-2,
        epochs=((1, 5), (4, 10), (16, 20)),
        batch_size=32,
    ),
}


@dataclass(frozen=True, kw_only=True)
class ClipAdapter:
    """A bottleneck adapter on the image feature, blended in at a ratio chosen on validation.

    Source: Gao et al., https://arxiv.org/abs/2110.04544, equations 2 to 5, visual branch.
    All tasks of one size and prototypes, at all ratios, train together; each adapter ends where it would have
    ended alone.

    Attributes:
        residual_ratios: the candidates; with a single one nothing is selected.
        reduction: feature width over hidden width; 4 in the paper.
        output_activation: the second ReLU of the authors' code.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for a number outside its range.
    """

    name: ClassVar[str] = "clip-adapter"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    residual_ratios: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    reduction: int = 4
    output_activation: bool = True
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if not self.residual_ratios or any(not 0 <= ratio <= 1 for ratio in self.residual_ratios):
            message = (
                f"residual_ratios is {self.residual_ratios}; expected one or more numbers "
                "from 0 to 1"
            )
            raise SettingsError(message)
        if self.reduction < 1:
            message = f"reduction is {self.reduction}; expected 1 or more"
            raise SettingsError(message)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train an adapter a task and ratio, then keep each task's best ratio.

        Raises:
            TaskError: for a task without validation images, if there is a ratio to choose.
            AdapterShapeError: if the reduction leaves no hidden unit at the features' width.
            DivergedError: if an adapter's loss or weights stop being finite.
        """
        if len(self.residual_ratios) > 1:
            require_validation(tasks)
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number, task in enumerate(tasks):
            groups[_kind(task)].append(number)
        total = sum(self._training(task).epochs * len(task.train_labels) for task in tasks)
        fitted: dict[int, Fitted] = {}
        for numbers in groups.values():
            group = [tasks[number] for number in numbers]
            n_images = len(group[0].train_labels)
            report = _share(progress, n_images / (total * len(self.residual_ratios)))
            fitted.update(zip(numbers, self._fit_group(group, device, report), strict=True))
        return [fitted[number] for number in range(len(tasks))]

    def _training(self, task: FewShotTask) -> Training:
        return self.training.resolve(RECIPES, shots=task.shots)

    def _fit_group(
        self, tasks: list[FewShotTask], device: str, report: Callable[[int], None] | None
    ) -> list[Fitted]:
        start = time.perf_counter()
        adapters = StackedAdapters.stack(
            [self._initial(task, ratio) for task in tasks for ratio in self.residual_ratios]
        ).to(device)
        curves = train_stack(
            adapters,
            self._stacked(tasks, device),
            self._training(tasks[0]),
            progress=report,
        )
        trained = adapters.cpu().unstack()
        curves_of_adapters = curves.cpu().T.tolist()
        seconds = (time.perf_counter() - start) / len(tasks)
        width = len(self.residual_ratios)
        return [
            self._choose(
                task,
                trained[number * width : (number + 1) * width],
                curves_of_adapters[number * width : (number + 1) * width],
                seconds,
            )
            for number, task in enumerate(tasks)
        ]

    def _initial(self, task: FewShotTask, ratio: float) -> ResidualAdapter:
        """Weights drawn from the task's seed alone, so that every ratio starts alike."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            return ResidualAdapter(
                task.train_features.shape[1],
                reduction=self.reduction,
                residual_ratio=ratio,
                output_activation=self.output_activation,
            )

    def _stacked(self, tasks: list[FewShotTask], device: str) -> StackedData:
        numbers = torch.arange(len(tasks)).repeat_interleave(len(self.residual_ratios))
        features = np.stack([task.train_features for task in tasks])
        labels = np.stack([task.train_labels for task in tasks])
        return StackedData(
            features=float_tensor(features).to(device),
            labels=torch.from_numpy(labels.astype(np.int64)).to(device),
            prototypes=float_tensor(tasks[0].class_prototypes).to(device),
            logit_scale=tasks[0].logit_scale,
            set_of_adapter=numbers.to(device),
            seeds=[task.seed for task in tasks],
        )

    def _choose(
        self,
        task: FewShotTask,
        adapters: list[ResidualAdapter],
        curves: list[list[float]],
        seconds: float,
    ) -> Fitted:
        classifiers = [
            AdapterClassifier(
                down=adapter.down.weight.detach().numpy(),
                up=adapter.up.weight.detach().numpy(),
                residual_ratio=adapter.residual_ratio,
                output_activation=adapter.output_activation,
                class_prototypes=task.class_prototypes,
                logit_scale=task.logit_scale,
                class_names=task.class_names,
            )
            for adapter in adapters
        ]
        if len(classifiers) == 1:
            return self._fitted(task, classifiers[0], curves[0], seconds)
        candidates = tuple(
            judge(one, task, residual_ratio=one.residual_ratio) for one in classifiers
        )
        best = best_candidate(candidates)
        return self._fitted(task, classifiers[best], curves[best], seconds, candidates)

    def _fitted(
        self,
        task: FewShotTask,
        classifier: AdapterClassifier,
        curve: list[float],
        seconds: float,
        candidates: tuple[Candidate, ...] = (),
    ) -> Fitted:
        return Fitted(
            classifier=classifier,
            settings={
                "residual_ratio": classifier.residual_ratio,
                "reduction": self.reduction,
                "output_activation": self.output_activation,
                **self._training(task).settings(),
            },
            selected_on="validation" if candidates else "nothing",
            candidates=candidates,
            loss_curve=tuple(curve),
            seconds=seconds,
        )


def _kind(task: FewShotTask) -> Hashable:
    """Equal for tasks that fit into one tensor program."""
    prototypes = task.class_prototypes
    text_side = (prototypes.shape, prototypes.tobytes(), task.logit_scale)
    return task.shots, len(task.train_labels), text_side


def _share(progress: Progress | None, fraction: float) -> Callable[[int], None] | None:
    """Progress of one adapter-epoch as a fraction of the whole."""
    if progress is None:
        return None
    return lambda adapters: progress(adapters * fraction)
