"""CLIP-Adapter: bottleneck adapters on the visual branch, the text branch, or both."""

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from clip_adapter.errors import SettingsError
from clip_adapter.methods.grid_method import (
    GridMethod,
    Point,
    Report,
    Trial,
    models_in_memory,
    stop_epochs,
)
from clip_adapter.methods.method import Fitted, SelectedOn
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import COOP_TRAINER, Recipe, Training, TrainingSettings

# Found on validation images of Flowers102, UCF101 and Caltech101, and kept on the development sets of
# benchmarks/dev_sets.py; docs/notebook.md has the figures, also of recipes that were worse.
FAST_ONE = Recipe(
    optimizer="sgd",
    learning_rate=5e-3,
    weight_decay=5e-4,
    momentum=0.9,
    epochs=((1, 8),),
    batch_size=8,
)
FAST_FEW = Recipe(
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1.0,
    epochs=((2, 14), (4, 10)),
    batch_size=32,
)
FAST_MANY = Recipe(
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1.0,
    epochs=((16, 14),),
    batch_size=64,
)


def recipes_for(shots: int) -> Mapping[str, Recipe]:
    """The recipes by name, at some number of labelled images a class."""
    fast = FAST_ONE if shots <= 1 else FAST_FEW if shots <= 4 else FAST_MANY
    return {"paper": COOP_TRAINER, "fast": fast}


Branch = Literal["visual", "text", "both"]
RatioMode = Literal["constant", "learned", "hypernetwork", "validation", "held-out-shots"]
RATIOS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
DEFAULT_RATIO = 0.6
WEIGHTS_AT_ONCE = 16_000_000
"""Adapter weights of the models that train together by autograd; with gradients, momentum and the
like some 250 MB."""
TEXT_RATIOS_BESIDE_VISUAL = (0.2, 0.6, 1.0)
"""Fewer, as every pair is tried."""


@dataclass(frozen=True, kw_only=True)
class ClipAdapter(GridMethod):
    """Bottleneck adapters on the image feature, the class prototypes, or both.

    `f' = a A(f) + (1 - a) f` and `W' = b A(W) + (1 - b) W` on raw features, then CLIP's scaled
    cosine of f' and W' (Gao et al., https://arxiv.org/abs/2110.04544, equations 2 to 5). All
    tasks of one size and prototypes, at all ratios, train together; each model ends where it
    would have ended alone.

    The `ratio_mode` determines the ratios a and b:

    - "constant": each combination of the candidates is trained, of which one is chosen.
    - "learned": a and b are sigmoids of parameters that are trained with the weights, from 0.2.
    - "hypernetwork": a is predicted from image feature and prototypes, b of each class from the
      prototypes; see `clip_adapter.adapters.PredictedRatios`.

    The former modes "validation" and "held-out-shots" are constant ratios with that `selection`; they
    are accepted until the next release.

    Attributes:
        branch: the adapted side: visual, text, or both.
        ratio_mode: how the residual ratios are determined.
        residual_ratios: candidates of the visual branch.
        text_residual_ratios: candidates of the text branch; None for the same six, or for 0.2, 0.6
            and 1 where both branches are adapted and every pair is tried.
        reduction: feature width divided by hidden width; 4 in the paper.
        output_activation: whether the adapter ends in a second ReLU, as the authors' code has it.
        views: augmented views of each image to train on; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: a number is outside its range.
    """

    name: ClassVar[str] = "clip-adapter"

    branch: Branch = "visual"
    ratio_mode: RatioMode = "constant"
    residual_ratios: tuple[float, ...] = RATIOS
    text_residual_ratios: tuple[float, ...] | None = None
    reduction: int = 4
    output_activation: bool = True
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.ratio_mode in {"validation", "held-out-shots"}:
            self._translate_former_mode()
        _check_ratios("residual_ratios", self.residual_ratios)
        if self.text_residual_ratios is not None:
            _check_ratios("text_residual_ratios", self.text_residual_ratios)
        for name, smallest in (("reduction", 1), ("views", 0)):
            if getattr(self, name) < smallest:
                message = f"{name} is {getattr(self, name)}; expected {smallest} or more"
                raise SettingsError(message)

    @property
    def ratio_names(self) -> tuple[str, ...]:
        """Names of the residual ratios, one for each adapted branch."""
        visual = ("residual_ratio",) if self.branch != "text" else ()
        text = ("text_residual_ratio",) if self.branch != "visual" else ()
        return visual + text

    @property
    def searched_ratios(self) -> tuple[str, ...]:
        """Names of the residual ratios that are chosen from candidates."""
        return self.ratio_names if self.ratio_mode == "constant" else ()

    @property
    def without_choice(self) -> SelectedOn:
        """Learned ratios are recorded as "training"."""
        return "nothing" if self.ratio_mode == "constant" else "training"

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """Residual ratios of the adapted branches, and lengths."""
        text = self.text_residual_ratios or (
            TEXT_RATIOS_BESIDE_VISUAL if self.branch == "both" else RATIOS
        )
        values = {"residual_ratio": self.residual_ratios, "text_residual_ratio": text}
        ratios = {name: values[name] for name in self.searched_ratios}
        return {**ratios, "length": self.training_of(task).distinct_lengths}

    def defaults(self, task: FewShotTask) -> Point:  # noqa: ARG002  # the same for all
        """The ratio that did best on average over several datasets, and the whole training."""
        return {
            "residual_ratio": DEFAULT_RATIO,
            "text_residual_ratio": DEFAULT_RATIO,
            "length": 1.0,
        }

    def work(self, trial: Trial) -> int:
        """Images that all models visit."""
        last = stop_epochs([trial], self.training_of(trial.task))[-1]
        return last * len(trial.distinct(*self.searched_ratios)) * len(trial.task.train_labels)

    def most_together(self, trial: Trial) -> int:
        """How many tasks' adapters fit into memory together, at all ratios and lengths."""
        width = trial.task.class_prototypes.shape[1]
        weights: int = 2 * len(self.ratio_names) * width * max(1, width // self.reduction)
        if self.searched_ratios == ("residual_ratio",):
            return models_in_memory(weights * len(trial.points))
        return WEIGHTS_AT_ONCE // (weights * len(trial.distinct(*self.searched_ratios)))

    def kind(self, task: FewShotTask) -> Hashable:
        """Equal for tasks of one shape with the same prototypes."""
        return super().kind(task), task.class_prototypes.tobytes()

    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Train the models of all tasks at all ratios together.

        Raises:
            DataError: a task has fewer views.
            SettingsError: the reduction leaves no hidden unit at the features' width.
            SettingsError: a model's loss or weights are not finite numbers.
        """
        from clip_adapter.methods.fitting.clip_adapter import fit_together

        return fit_together(self, trials, device=device, report=report)

    def training_of(self, task: FewShotTask) -> Training:
        """The training of a task's models."""
        return self.training.resolve(recipes_for(task.shots), shots=task.shots)

    def settings(self) -> dict[str, float | int | str | bool]:
        """The settings that a run records, by name, beside ratios and training."""
        return {
            "branch": self.branch,
            "ratio_mode": self.ratio_mode,
            "reduction": self.reduction,
            "output_activation": self.output_activation,
            "views": self.views,
        }

    def _translate_former_mode(self) -> None:
        warnings.warn(
            f"ratio_mode={self.ratio_mode} is now selection={self.ratio_mode}, of constant ratios",
            DeprecationWarning,
            stacklevel=4,
        )
        if self.selection not in {"validation", self.ratio_mode}:
            raise SettingsError(
                f"ratio_mode={self.ratio_mode} is selection={self.ratio_mode}, but selection is "
                f"{self.selection}: leave ratio_mode out"
            )
        object.__setattr__(self, "selection", self.ratio_mode)
        object.__setattr__(self, "ratio_mode", "constant")


def _check_ratios(name: str, ratios: Sequence[float]) -> None:
    if not ratios or any(not 0 <= ratio <= 1 for ratio in ratios):
        message = f"{name} is {tuple(ratios)}; expected one or more numbers from 0 to 1"
        raise SettingsError(message)
