"""The parts of a run's record that are structs at rest."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Hyper-parameters as finally used; None where the method has no such setting.

    Attributes:
        residual_ratio: Weight of the adapted feature in the blend, 0 to 1.
        reduction: Feature width over the adapter's hidden width.
        output_activation: Whether the adapter ends in a ReLU.
        epochs: Passes over the training images.
        learning_rate: At the first step.
        batch_size: Images a step.
        weight_decay: Of the optimizer.
        optimizer: Its name.
        inverse_regularization: C of a linear probe.
        recipe: Whose training it is: the paper's, or our fast one.
        momentum: Of SGD.
        views: Augmented views of each training image; 0 for the image itself.
        branch: What CLIP-Adapter adapts: visual, text or both.
        text_residual_ratio: Weight of the adapted prototype in the blend, 0 to 1.
        ratio_mode: What sets the residual ratios.
        prompts: Whether a class has one prompt or the ensemble.
        alpha: Weight of what the few shots add to zero-shot.
        beta: Sharpness of a cache model.
        n_context: Context tokens that are learned.
        class_position: Where the class name stands among them.
        class_specific: Whether each class has contexts of its own.
        context_init: Words the contexts start from; empty for noise.
        alpha_every: Steps of LP++'s prototypes for each of its alphas.
        initial_alpha: Weight of the cache while Tip-Adapter-F's keys are trained.
        initial_beta: Its sharpness then.
        max_iterations: Of L-BFGS, where a linear probe stops at the latest.
        refinements: Rounds of its search for C after the first, coarse one.
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


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One point of a grid of hyper-parameters that was tried, and how it did.

    Attributes:
        settings: What was tried, by the names in `RunSettings`.
        validation_accuracy: On the images that chose, a fraction.
        validation_nll: On the same images.
    """

    settings: Mapping[str, float]
    validation_accuracy: float
    validation_nll: float


@dataclass(frozen=True, kw_only=True)
class EvaluatedOn:
    """The images that a run was tested on.

    Attributes:
        dataset: Whose test split.
        class_subset: Which of its classes; None for all of them.
    """

    dataset: str
    class_subset: str | None = None


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The software a run was made with."""

    clip_adapter: str
    python: str
    torch: str
    open_clip: str
    numpy: str
