"""From a trained model to the classifier it ends in."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.adapters import PredictedRatios, StackedBranch, StackedForms
from clip_adapter.methods.classifiers import AdapterClassifier, Classifier, PrototypeClassifier
from clip_adapter.methods.clip_adapter.trial import Trial
from clip_adapter.methods.tensors import float_tensor


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
