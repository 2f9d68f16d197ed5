"""The parts of a run's record that are stored as structs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

_LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Hyper-parameters as finally used that have a column; None where a method has no such setting.

    Attributes:
        residual_ratio: weight of the adapted feature in the blend, 0 to 1.
        reduction: feature width divided by the adapter's hidden width.
        output_activation: whether the adapter ends in a ReLU.
        epochs: passes over the training images.
        learning_rate: learning rate of the first step.
        batch_size: images in a step.
        weight_decay: weight decay of the optimizer.
        optimizer: name of the optimizer.
        inverse_regularization: C of a linear probe.
        recipe: "paper" for the training of the method's authors, "fast" for ours.
        momentum: momentum of SGD.
        views: augmented views of each training image; 0 for the image itself.
        branch: what CLIP-Adapter adapts: visual, text or both.
        text_residual_ratio: weight of the adapted prototype in the blend, 0 to 1.
        ratio_mode: what sets the residual ratios.
        prompts: whether a class has a single prompt or the ensemble.
        alpha: weight of what the few shots add to zero-shot.
        beta: sharpness of a cache model.
        n_context: learned context tokens.
        class_position: position of the class name among the context tokens.
        class_specific: whether each class has a context.
        context_init: words from which the context starts; empty for noise.
        alpha_every: steps of LP++'s prototypes for each of its alphas.
        initial_alpha: weight of the cache while Tip-Adapter-F's keys are trained.
        initial_beta: sharpness of the cache while Tip-Adapter-F's keys are trained.
        max_iterations: iterations after which L-BFGS stops in a linear probe.
        refinements: rounds of a linear probe's search for C after the first, coarse one.
    """

    residual_ratio: float | None = None
    reduction: int | None = None
    output_activation: bool | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    optimizer: str | None = None
    inverse_regularization: float | None = None
    recipe: str | None = None
    momentum: float | None = None
    views: int | None = None
    branch: str | None = None
    text_residual_ratio: float | None = None
    ratio_mode: str | None = None
    prompts: str | None = None
    alpha: float | None = None
    beta: float | None = None
    n_context: int | None = None
    class_position: str | None = None
    class_specific: bool | None = None
    context_init: str | None = None
    alpha_every: int | None = None
    initial_alpha: float | None = None
    initial_beta: float | None = None
    max_iterations: int | None = None
    refinements: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "RunSettings":
        """Those settings that have a column of their type; others are in `hyperparameters` only."""
        columns = {field.name: get_args(field.type)[0] for field in fields(cls)}
        return cls(
            **{
                name: value
                for name, value in values.items()
                if name in columns and _fits(value, columns[name])
            }
        )


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in {int, float}
    if kind is int:
        return type(value) is int and abs(value) <= _LARGEST_COUNT
    return type(value) is kind


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One point of a grid of hyper-parameters, and its scores on the images of model selection.

    Attributes:
        settings: hyper-parameters of the point, by name.
        validation_accuracy: accuracy on the images of model selection, a fraction.
        validation_nll: negative log-likelihood on the images of model selection, in nats.
    """

    settings: Mapping[str, float]
    validation_accuracy: float
    validation_nll: float


@dataclass(frozen=True, kw_only=True)
class EvaluatedOn:
    """The images that a run was tested on.

    Attributes:
        dataset: name of the dataset with the test split.
        class_subset: name of a part of its classes; None for all of them.
        index_fingerprint: state of the dataset; None where it is that of the run.
    """

    dataset: str
    class_subset: str | None = None
    index_fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Versions of the software that made a run."""

    clip_adapter: str
    python: str
    torch: str
    open_clip: str
    numpy: str
