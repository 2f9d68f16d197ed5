"""CLIP-Adapter: bottleneck adapters on the visual branch, the text branch, or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar, Literal

from clip_adapter.errors import SettingsError
from clip_adapter.methods.method import Fitted, Method, Progress, SelectedOn
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import COOP_TRAINER, Recipe, Training, TrainingSettings

# Found on validation images of Flowers102, UCF101 and Caltech101 by benchmarks/fast_recipe.py;
# docs/notebook.md has the figures, also of recipes that were worse.
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
RatioMode = Literal["validation", "held-out-shots", "learned", "hypernetwork"]
RATIOS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
TEXT_RATIOS_BESIDE_VISUAL = (0.2, 0.6, 1.0)
"""Fewer, as every pair is tried."""


@dataclass(frozen=True, kw_only=True)
class ClipAdapter(Method):
    """Bottleneck adapters on the image feature, the class prototypes, or both.

    `f' = a A(f) + (1 - a) f` and `W' = b A(W) + (1 - b) W` on raw features, then CLIP's scaled
    cosine of f' and W' (Gao et al., https://arxiv.org/abs/2110.04544, equations 2 to 5). All
    tasks of one size and prototypes, at all ratios, train together; each model ends where it
    would have ended alone.

    The `ratio_mode` determines the ratios a and b:

    - "validation": each point of the grid is trained, the task's validation images choose. The
      ratios of a single point are fixed and nothing is chosen.
    - "held-out-shots": in each of at most four folds one shot of each class is left out and each
      point of the grid is trained on the rest; all left-out shots choose, and the chosen point is
      trained again on all shots. No validation image is used.
    - "learned": a and b are sigmoids of parameters that are trained with the weights, from 0.2.
    - "hypernetwork": a is predicted from image feature and prototypes, b of each class from the
      prototypes; see `clip_adapter.adapters.PredictedRatios`.

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
    ratio_mode: RatioMode = "validation"
    residual_ratios: tuple[float, ...] = RATIOS
    text_residual_ratios: tuple[float, ...] | None = None
    reduction: int = 4
    output_activation: bool = True
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
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
    def grid(self) -> list[dict[str, float]]:
        """Every combination of ratios to try; a single empty one where ratios are learned."""
        if self.ratio_mode in {"learned", "hypernetwork"}:
            return [{}]
        text = self.text_residual_ratios or (
            TEXT_RATIOS_BESIDE_VISUAL if self.branch == "both" else RATIOS
        )
        values = {"residual_ratio": self.residual_ratios, "text_residual_ratio": text}
        axes = [[(name, ratio) for ratio in values[name]] for name in self.ratio_names]
        return [dict(point) for point in product(*axes)]

    @property
    def n_candidates(self) -> int:
        """Number of points of the grid."""
        return len(self.grid)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train the models of each task, and keep its best where there is a choice.

        Raises:
            DataError: there is a ratio to choose, and a task has no validation images, or with
                "held-out-shots" a class of one image; or it has fewer views.
            SettingsError: the reduction leaves no hidden unit at the features' width.
            SettingsError: a model's loss or weights are not finite numbers.
        """
        from clip_adapter.methods.fitting import grid_search
        from clip_adapter.methods.fitting.clip_adapter import AdapterTrainer, candidates_of

        grids = [candidates_of(self, task) for task in tasks]
        trainer = AdapterTrainer(self, device=device, progress=progress)
        selected_on = self._selected_on()
        if selected_on == "validation":
            found = grid_search.choose_on_validation(grids, trainer)
        elif selected_on == "held-out shots":
            found = grid_search.choose_on_held_out_shots(grids, trainer)
        else:
            found = trainer.fit([grid[0] for grid in grids])
        return [
            replace(one, settings={**one.settings, **self._settings(task)}, selected_on=selected_on)
            for task, one in zip(tasks, found, strict=True)
        ]

    def _selected_on(self) -> SelectedOn:
        if self.ratio_mode in {"learned", "hypernetwork"}:
            return "training"
        if self.n_candidates == 1:
            return "nothing"
        return "validation" if self.ratio_mode == "validation" else "held-out shots"

    def training_of(self, task: FewShotTask) -> Training:
        """The training of a task's models."""
        return self.training.resolve(recipes_for(task.shots), shots=task.shots)

    def _settings(self, task: FewShotTask) -> dict[str, float | int | str | bool]:
        return {
            "branch": self.branch,
            "ratio_mode": self.ratio_mode,
            "reduction": self.reduction,
            "output_activation": self.output_activation,
            "views": self.views,
            **self.training_of(task).settings(),
        }


def _check_ratios(name: str, ratios: Sequence[float]) -> None:
    if not ratios or any(not 0 <= ratio <= 1 for ratio in ratios):
        message = f"{name} is {tuple(ratios)}; expected one or more numbers from 0 to 1"
        raise SettingsError(message)
