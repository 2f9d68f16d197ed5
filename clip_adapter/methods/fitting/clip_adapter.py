"""Training of CLIP-Adapters, as many at a time as fit into one tensor program."""

import copy
from collections.abc import Iterator, Mapping, Sequence
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
from clip_adapter.methods.grid_method import Report, Trial, stop_epochs
from clip_adapter.methods.method import Classifier, Fitted
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import (
    StackedData,
    Training,
    mean_losses,
    train_adapters,
    train_stacked,
)

Weights = tuple[Float[Tensor, "d h"], Float[Tensor, "h d"]]


@runtime_checkable
class AdapterSettings(Protocol):
    """What `ClipAdapter` says about the models to train."""

    @property
    def ratio_names(self) -> tuple[str, ...]:
        """Names of the residual ratios, one for each adapted branch."""

    @property
    def searched_ratios(self) -> tuple[str, ...]:
        """Names of the residual ratios that are chosen from candidates."""

    @property
    def ratio_mode(self) -> str:
        """How the residual ratios are determined."""

    @property
    def reduction(self) -> int:
        """Feature width divided by hidden width."""

    @property
    def output_activation(self) -> bool:
        """Whether the adapter ends in a second ReLU."""

    @property
    def views(self) -> int:
        """Augmented views of each image to train on; 0 for the image itself."""

    def settings(self) -> dict[str, float | int | str | bool]:
        """The settings that a run records, by name, beside ratios and training."""

    def training_of(self, task: FewShotTask) -> Training:
        """The training of a task's models."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterCandidate:
    """One model to train.

    Attributes:
        task: the task with the training images.
        ratios: residual ratios by name; empty where they are learned.
    """

    task: FewShotTask
    ratios: Mapping[str, float]


def fit_together(
    method: AdapterSettings, trials: Sequence[Trial], *, device: str, report: Report
) -> Iterator[list[Fitted]]:
    """Train the models of all tasks at all their ratios, and stop at each length.

    Each model ends where it would have ended alone, up to the rounding of batched products.
    """
    training = method.training_of(trials[0].task)
    stops = stop_epochs(trials, training)
    models_of = [trial.distinct(*method.searched_ratios) for trial in trials]
    candidates = [
        AdapterCandidate(task=trial.task, ratios=ratios)
        for trial, models in zip(trials, models_of, strict=True)
        for ratios in models
    ]
    models = untrained(method, candidates).to(device)
    checkpoints = {stop: copy.deepcopy(models) for stop in stops}
    data = _stacked(candidates, views=method.views, device=device)
    until = replace(training, stopped_epoch=stops[-1])
    curves = _train(
        models, data, until, checkpoints, lambda models: report(models * data.n_images)
    ).cpu()
    for model in checkpoints.values():
        model.cpu()
    first = 0
    for trial, distinct in zip(trials, models_of, strict=True):
        fitted = []
        for point in trial.points:
            stopped = training.stopping_at(point["length"])
            epochs = stopped.visited_epochs
            number = first + distinct.index({name: point[name] for name in method.searched_ratios})
            classifier, ratios = classifier_and_ratios(checkpoints[epochs], number, trial.task)
            fitted.append(
                Fitted(
                    classifier=classifier,
                    settings={**ratios, **method.settings(), **stopped.settings()},
                    loss_curve=tuple(curves[:epochs, number].tolist()),
                )
            )
        first += len(distinct)
        yield fitted


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
    models: StackedAdapterModel,
    data: StackedData,
    training: Training,
    checkpoints: Mapping[int, StackedAdapterModel],
    report: Report,
) -> Float[Tensor, "e g"]:
    """Train models; the checkpoints receive the weights after some numbers of epochs."""
    visual = models.visual
    if visual is not None and models.text is None and isinstance(visual.ratios, FixedRatios):
        stacks = {
            epoch: _as_stack(model.visual, visual.ratios)
            for epoch, model in checkpoints.items()
            if model.visual is not None
        }
        stack = _as_stack(visual, visual.ratios)
        return train_adapters(stack, data, training, progress=report, checkpoints=stacks)

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        features, labels = data.batch(rows)
        adapted, prototypes = models(features, data.prototypes)
        return mean_losses(logits(adapted, prototypes, data.logit_scale), labels)

    def keep(epoch: int) -> None:
        if epoch in checkpoints:
            checkpoints[epoch].load_state_dict(models.state_dict())

    return train_stacked(
        list(models.parameters()),
        losses,
        training,
        sets=data,
        progress=report,
        after_epoch=keep,
    )


def _as_stack(branch: StackedBranch, ratios: FixedRatios) -> StackedAdapters:
    """The adapters of a branch; they share the memory of its weights."""
    return StackedAdapters(
        branch.down.detach(),
        branch.up.detach(),
        residual_ratios=ratios.exact,
        output_activation=branch.output_activation,
    )


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
