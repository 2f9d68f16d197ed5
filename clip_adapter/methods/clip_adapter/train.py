"""Trains models of one form, as many at a time as fit into one tensor program."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import (
    FixedRatios,
    PredictedRatios,
    StackedAdapters,
    StackedBranch,
    StackedForms,
    logits,
)
from clip_adapter.methods.classifiers import AdapterClassifier, Classifier, PrototypeClassifier
from clip_adapter.methods.clip_adapter.form import Form
from clip_adapter.methods.clip_adapter.trial import Trained, Trial
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import StackedData, Training, descend, mean_losses, train_stack


@torch.no_grad()
def classifier_and_ratios(
    models: StackedForms, number: int, trial: Trial
) -> tuple[Classifier, Mapping[str, float]]:
    """One of the models as a classifier, and its residual ratios by their names."""
    prototypes = trial.task.class_prototypes
    ratios = {}
    if models.text is not None:
        frozen = float_tensor(prototypes)
        prototypes = models.text.one(number, frozen, frozen).numpy()
        ratios["text_residual_ratio"] = _mean(models.text.ratios.one(number, frozen, frozen))
    if models.visual is None:
        return _prototype_classifier(prototypes, trial), ratios
    classifier = _adapter_classifier(models.visual, number, prototypes, trial=trial)
    return classifier, {"residual_ratio": classifier.residual_ratio, **ratios}


def _prototype_classifier(
    prototypes: Float[np.ndarray, "c d"], trial: Trial
) -> PrototypeClassifier:
    return PrototypeClassifier(
        class_prototypes=prototypes,
        logit_scale=trial.task.logit_scale,
        class_names=trial.task.class_names,
    )


def _adapter_classifier(
    branch: StackedBranch, number: int, prototypes: Float[np.ndarray, "c d"], *, trial: Trial
) -> AdapterClassifier:
    frozen = float_tensor(trial.task.class_prototypes)
    images = float_tensor(trial.task.train_features)
    classifier = AdapterClassifier(
        down=branch.down[number].T.contiguous().numpy(),
        up=branch.up[number].T.contiguous().numpy(),
        residual_ratio=_mean(branch.ratios.one(number, images, frozen)),
        output_activation=branch.output_activation,
        class_prototypes=prototypes,
        logit_scale=trial.task.logit_scale,
        class_names=trial.task.class_names,
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


WEIGHTS_AT_ONCE = 16_000_000
"""Adapter weights of the models that train together by autograd; with gradients,
momentum and the like some 250 MB."""
Report = Callable[[int], None] | None


def train(
    form: Form, trials: Sequence[Trial], *, device: str, report: Callable[[int], None] | None
) -> Iterator[tuple[int, Trained]]:
    """Train every trial and yield its number with what came of it, group by group.

    Trials of one size, schedule and prototypes form a group; each ends where it would have ended
    alone, up to the rounding of batched products.

    Args:
        form: of all models.
        trials: what to train.
        device: where, in torch's spelling.
        report: told the image visits done since the last call.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for number, trial in enumerate(trials):
        groups[trial.kind].append(number)
    for members in groups.values():
        for numbers in _programs(form, trials[members[0]], members):
            chosen = [trials[number] for number in numbers]
            yield from zip(numbers, _train_together(form, chosen, device, report), strict=True)


def _programs(form: Form, example: Trial, members: list[int]) -> Iterator[list[int]]:
    """A group, or as much of it at a time as memory should hold."""
    if form.branch == "visual" and form.ratios == "given":
        yield members
        return
    width = example.task.class_prototypes.shape[1]
    weights = 2 * len(form.ratio_names) * width * (width // form.reduction)
    size = max(1, WEIGHTS_AT_ONCE // max(1, weights))
    for start in range(0, len(members), size):
        yield members[start : start + size]


def _train_together(
    form: Form, trials: list[Trial], device: str, report: Report
) -> Iterator[Trained]:
    start = time.perf_counter()
    models = form.untrained(trials).to(device)
    data = _stacked(form, trials, device)
    told = _visits_of_models(report, trials[0].n_images)
    curves = _descend(models, data, trials[0].training, told).cpu().T.tolist()
    models = models.cpu()
    seconds = (time.perf_counter() - start) / len(trials)
    for number, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
        classifier, ratios = classifier_and_ratios(models, number, trial)
        yield Trained(
            classifier=classifier, ratios=ratios, loss_curve=tuple(curve), seconds=seconds
        )


def _stacked(form: Form, trials: list[Trial], device: str) -> StackedData:
    sets: dict[int, tuple[int, FewShotTask]] = {}
    for trial in trials:
        sets.setdefault(id(trial.task), (len(sets), trial.task))
    tasks = [task for _, task in sets.values()]
    features = np.stack([task.training_rows(form.views) for task in tasks])
    labels = np.stack([task.train_labels for task in tasks])
    numbers = [sets[id(trial.task)][0] for trial in trials]
    return StackedData(
        features=float_tensor(features).to(device),
        labels=torch.from_numpy(labels.astype(np.int64)).to(device),
        prototypes=float_tensor(tasks[0].class_prototypes).to(device),
        logit_scale=tasks[0].logit_scale,
        set_of_adapter=torch.tensor(numbers, device=device),
        seeds=[task.seed for task in tasks],
    )


def _descend(
    models: StackedForms, data: StackedData, training: Training, told: Report
) -> Float[Tensor, "e g"]:
    visual = models.visual
    if visual is not None and models.text is None and isinstance(visual.ratios, FixedRatios):
        stack = _as_stack(visual, visual.ratios)
        curves = train_stack(stack, data, training, progress=told)
        _take_over(visual, stack)
        return curves

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        features, labels = data.batch(rows)
        adapted, prototypes = models(features, data.prototypes)
        return mean_losses(logits(adapted, prototypes, data.logit_scale), labels)

    return descend(list(models.parameters()), losses, training, sets=data, progress=told)


def _as_stack(branch: StackedBranch, ratios: FixedRatios) -> StackedAdapters:
    return StackedAdapters(
        branch.down.detach(),
        branch.up.detach(),
        residual_ratios=ratios.exact,
        output_activation=branch.output_activation,
    )


@torch.no_grad()
def _take_over(branch: StackedBranch, stack: StackedAdapters) -> None:
    branch.down.copy_(stack.down)
    branch.up.copy_(stack.up)


def _visits_of_models(report: Report, n_images: int) -> Report:
    """Models that went through an epoch, as image visits."""
    return None if report is None else lambda models: report(models * n_images)
