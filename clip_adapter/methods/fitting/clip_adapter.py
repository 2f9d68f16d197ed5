"""Training of CLIP-Adapters, as many at a time as fit into one tensor program."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import (
    FixedRatios,
    LearnedRatios,
    PredictedRatios,
    ResidualAdapter,
    StackedAdapterModel,
    StackedAdapters,
    StackedBranch,
    logits,
)
from clip_adapter.adapters.stacked import Ratios
from clip_adapter.methods.classifiers import AdapterClassifier, PrototypeClassifier
from clip_adapter.methods.method import Classifier, Fitted, Progress
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import (
    StackedData,
    Training,
    mean_losses,
    train_adapters,
    train_stacked,
)

WEIGHTS_AT_ONCE = 16_000_000
"""Adapter weights of the models that train together by autograd; with gradients, momentum and the
like some 250 MB."""
Weights = tuple[Float[Tensor, "d h"], Float[Tensor, "h d"]]
Report = Callable[[int], None] | None


@runtime_checkable
class AdapterSettings(Protocol):
    """What `ClipAdapter` says about the models to train."""

    @property
    def ratio_names(self) -> tuple[str, ...]:
        """Names of the residual ratios, one for each adapted branch."""

    @property
    def ratio_mode(self) -> str:
        """How the residual ratios are determined."""

    @property
    def grid(self) -> list[dict[str, float]]:
        """Every combination of ratios to try; a single empty one where ratios are learned."""

    @property
    def reduction(self) -> int:
        """Feature width divided by hidden width."""

    @property
    def output_activation(self) -> bool:
        """Whether the adapter ends in a second ReLU."""

    @property
    def views(self) -> int:
        """Augmented views of each image to train on; 0 for the image itself."""

    def training_of(self, task: FewShotTask) -> Training:
        """The training of a task's models."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterCandidate:
    """One model to train.

    Attributes:
        task: the task with the training images.
        training: optimiser, schedule and length.
        ratios: residual ratios by name; empty where they are learned.
    """

    task: FewShotTask
    training: Training
    ratios: Mapping[str, float]

    @property
    def n_images(self) -> int:
        """Number of training images."""
        return len(self.task.train_labels)

    @property
    def image_visits(self) -> int:
        """Number of images that the training visits in all epochs."""
        return self.training.epochs * self.n_images

    @property
    def kind(self) -> Hashable:
        """Equal for candidates that fit into one tensor program."""
        prototypes = self.task.class_prototypes
        text_side = (prototypes.shape, prototypes.tobytes(), self.task.logit_scale)
        return self.training, self.n_images, text_side


def candidates_of(method: AdapterSettings, task: FewShotTask) -> list[AdapterCandidate]:
    """One candidate for each point of the method's grid."""
    training = method.training_of(task)
    return [AdapterCandidate(task=task, training=training, ratios=point) for point in method.grid]


class AdapterTrainer:
    """Trains candidates, those of one size, schedule and prototypes together.

    Each model ends where it would have ended alone, up to the rounding of batched products.

    Args:
        method: settings that all candidates share.
        device: torch device that trains, such as "cuda:0".
        progress: called with the fraction of the whole fit that was just done.
    """

    def __init__(self, method: AdapterSettings, *, device: str, progress: Progress | None) -> None:
        self._method = method
        self._device = device
        self._progress = progress

    def fit(self, candidates: Sequence[AdapterCandidate], *, share: float = 1.0) -> list[Fitted]:
        """Train candidates and return the models in their order, see `train`."""
        fitted = dict(self.train(candidates, share=share))
        return [fitted[number] for number in range(len(candidates))]

    def train(
        self, candidates: Sequence[AdapterCandidate], *, share: float = 1.0
    ) -> Iterator[tuple[int, Fitted]]:
        """Train candidates and yield the number of each with its model, group by group.

        The settings of a model are its residual ratios; of predicted ratios their mean.

        Args:
            candidates: the models to train.
            share: fraction of the whole fit that this is, for the progress.
        """
        visits = sum(candidate.image_visits for candidate in candidates)
        progress = self._progress
        report = progress and (lambda done: progress(done * share / visits))
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number, candidate in enumerate(candidates):
            groups[candidate.kind].append(number)
        for members in groups.values():
            for numbers in self._programs(candidates[members[0]], members):
                chosen = [candidates[number] for number in numbers]
                yield from zip(numbers, self._train_together(chosen, report), strict=True)

    def _programs(self, example: AdapterCandidate, members: list[int]) -> Iterator[list[int]]:
        """The members of a group, as many at a time as fit into memory."""
        method = self._method
        if method.ratio_names == ("residual_ratio",) and example.ratios:
            yield members
            return
        width = example.task.class_prototypes.shape[1]
        weights = 2 * len(method.ratio_names) * width * (width // method.reduction)
        size = max(1, WEIGHTS_AT_ONCE // max(1, weights))
        for start in range(0, len(members), size):
            yield members[start : start + size]

    def _train_together(
        self, candidates: list[AdapterCandidate], report: Report
    ) -> Iterator[Fitted]:
        start = time.perf_counter()
        models = untrained(self._method, candidates).to(self._device)
        data = _stacked(candidates, views=self._method.views, device=self._device)
        visited = report and (lambda models: report(models * candidates[0].n_images))
        curves = _train(models, data, candidates[0].training, visited).cpu().T.tolist()
        models = models.cpu()
        seconds = (time.perf_counter() - start) / len(candidates)
        for number, (candidate, curve) in enumerate(zip(candidates, curves, strict=True)):
            classifier, ratios = classifier_and_ratios(models, number, candidate.task)
            yield Fitted(
                classifier=classifier, settings=ratios, loss_curve=tuple(curve), seconds=seconds
            )


def untrained(
    method: AdapterSettings, candidates: Sequence[AdapterCandidate]
) -> StackedAdapterModel:
    """One untrained model a candidate.

    The weights are drawn from the seed of the task alone, those of the visual branch before those
    of the text branch: so the models of all ratios start with equal weights.
    """
    drawn: dict[int, list[Weights]] = {}
    for candidate in candidates:
        if candidate.task.seed not in drawn:
            drawn[candidate.task.seed] = _draw(method, candidate.task)
    branches = {
        name: _branch(
            method, name, [drawn[one.task.seed][number] for one in candidates], candidates
        )
        for number, name in enumerate(method.ratio_names)
    }
    return StackedAdapterModel(
        visual=branches.get("residual_ratio"), text=branches.get("text_residual_ratio")
    )


def _draw(method: AdapterSettings, task: FewShotTask) -> list[Weights]:
    width = task.class_prototypes.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        adapters = [ResidualAdapter(width, reduction=method.reduction) for _ in method.ratio_names]
    return [(adapter.down.weight.detach().T, adapter.up.weight.detach().T) for adapter in adapters]


def _branch(
    method: AdapterSettings,
    ratio_name: str,
    weights: Sequence[Weights],
    candidates: Sequence[AdapterCandidate],
) -> StackedBranch:
    ratios: Ratios
    if method.ratio_mode == "learned":
        ratios = LearnedRatios(len(candidates))
    elif method.ratio_mode == "hypernetwork":
        ratios = PredictedRatios(len(candidates), len(weights[0][0]))
    else:
        ratios = FixedRatios([candidate.ratios[ratio_name] for candidate in candidates])
    return StackedBranch(
        torch.stack([down for down, _ in weights]).contiguous(),
        torch.stack([up for _, up in weights]).contiguous(),
        ratios=ratios,
        output_activation=method.output_activation,
    )


def _stacked(candidates: list[AdapterCandidate], *, views: int, device: str) -> StackedData:
    sets: dict[int, tuple[int, FewShotTask]] = {}
    for candidate in candidates:
        sets.setdefault(id(candidate.task), (len(sets), candidate.task))
    tasks = [task for _, task in sets.values()]
    features = np.stack([task.training_rows(views) for task in tasks])
    labels = np.stack([task.train_labels for task in tasks])
    numbers = [sets[id(candidate.task)][0] for candidate in candidates]
    return StackedData(
        features=float_tensor(features).to(device),
        labels=torch.from_numpy(labels.astype(np.int64)).to(device),
        prototypes=float_tensor(tasks[0].class_prototypes).to(device),
        logit_scale=tasks[0].logit_scale,
        set_of_adapter=torch.tensor(numbers, device=device),
        seeds=[task.seed for task in tasks],
    )


def _train(
    models: StackedAdapterModel, data: StackedData, training: Training, report: Report
) -> Float[Tensor, "e g"]:
    visual = models.visual
    if visual is not None and models.text is None and isinstance(visual.ratios, FixedRatios):
        stack = _as_stack(visual, visual.ratios)
        curves = train_adapters(stack, data, training, progress=report)
        _copy_weights(visual, stack)
        return curves

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        features, labels = data.batch(rows)
        adapted, prototypes = models(features, data.prototypes)
        return mean_losses(logits(adapted, prototypes, data.logit_scale), labels)

    return train_stacked(list(models.parameters()), losses, training, sets=data, progress=report)


def _as_stack(branch: StackedBranch, ratios: FixedRatios) -> StackedAdapters:
    return StackedAdapters(
        branch.down.detach(),
        branch.up.detach(),
        residual_ratios=ratios.exact,
        output_activation=branch.output_activation,
    )


@torch.no_grad()
def _copy_weights(branch: StackedBranch, stack: StackedAdapters) -> None:
    branch.down.copy_(stack.down)
    branch.up.copy_(stack.up)


@torch.no_grad()
def classifier_and_ratios(
    models: StackedAdapterModel, number: int, task: FewShotTask
) -> tuple[Classifier, Mapping[str, float]]:
    """One of the models as a classifier, and its residual ratios by name."""
    prototypes = task.class_prototypes
    ratios = {}
    if models.text is not None:
        frozen = float_tensor(prototypes)
        prototypes = models.text.one(number, frozen, frozen).numpy()
        ratios["text_residual_ratio"] = _mean(models.text.ratios.one(number, frozen, frozen))
    if models.visual is None:
        return _prototype_classifier(prototypes, task), ratios
    classifier = _adapter_classifier(models.visual, number, prototypes, task=task)
    return classifier, {"residual_ratio": classifier.residual_ratio, **ratios}


def _prototype_classifier(
    prototypes: Float[np.ndarray, "c d"], task: FewShotTask
) -> PrototypeClassifier:
    return PrototypeClassifier(
        class_prototypes=prototypes,
        logit_scale=task.logit_scale,
        class_names=task.class_names,
    )


def _adapter_classifier(
    branch: StackedBranch, number: int, prototypes: Float[np.ndarray, "c d"], *, task: FewShotTask
) -> AdapterClassifier:
    frozen = float_tensor(task.class_prototypes)
    images = float_tensor(task.train_features)
    classifier = AdapterClassifier(
        down=branch.down[number].T.contiguous().numpy(),
        up=branch.up[number].T.contiguous().numpy(),
        residual_ratio=_mean(branch.ratios.one(number, images, frozen)),
        output_activation=branch.output_activation,
        class_prototypes=prototypes,
        logit_scale=task.logit_scale,
        class_names=task.class_names,
    )
    if not isinstance(branch.ratios, PredictedRatios):
        return classifier
    return replace(
        classifier,
        ratio_query=branch.ratios.query[number].clone().numpy(),
        ratio_offset=float(branch.ratios.offsets(frozen)[number]),
    )


def _mean(ratio: float | Float[Tensor, "n 1"]) -> float:
    return ratio if isinstance(ratio, float) else float(ratio.mean())
