"""CLIP-Adapter in all its forms, every shot, seed and ratio in few tensor programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar, Literal

from clip_adapter.methods.clip_adapter.choose import (
    Run,
    choose_on_held_out_shots,
    choose_on_validation,
    train_only,
)
from clip_adapter.methods.clip_adapter.trial import Trained, Trial
from clip_adapter.methods.method import Fitted, Progress, SelectedOn
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import COOP_TRAINER, Recipe, SettingsError, Training, TrainingSettings

# Found on validation images of Flowers102, UCF101 and Caltech101 by benchmarks/fast_recipe.py;
# docs/notebook.md has the figures and what was worse.
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
    """The recipes by their names, at so many labelled images a class."""
    fast = FAST_ONE if shots <= 1 else FAST_FEW if shots <= 4 else FAST_MANY
    return {"paper": COOP_TRAINER, "fast": fast}


Branch = Literal["visual", "text", "both"]
RatioSource = Literal["given", "learned", "hypernetwork"]
RatioMode = Literal["validation", "held-out-shots", "learned", "hypernetwork"]
RATIOS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
TEXT_RATIOS_BESIDE_VISUAL = (0.2, 0.6, 1.0)
"""Fewer, as every pair is tried."""


@dataclass(frozen=True, kw_only=True)
class ClipAdapter:
    """Bottleneck adapters on the image feature, the class prototypes, or both.

    `f' = a A(f) + (1 - a) f` and `W' = b A(W) + (1 - b) W` on raw features, then CLIP's scaled
    cosine of f' and W' (Gao et al., https://arxiv.org/abs/2110.04544, equations 2 to 5). All
    tasks of one size and prototypes, at all ratios, train together; each model ends where it
    would have ended alone.

    What sets the ratios a and b is the `ratio_mode`:

    - "validation": each point of the grid is trained, the task's validation images choose. With
      a single point the ratios are fixed and nothing is chosen.
    - "held-out-shots": one shot of each class is left out in turn (at most four turns), each
      point of the grid is trained on the rest, the pooled left-out shots choose, and the chosen
      point is trained again on all shots. No validation image is looked at.
    - "learned": a and b are sigmoids of parameters that are trained with the weights, from 0.2.
    - "hypernetwork": a is predicted from image feature and prototypes, b of each class from the
      prototypes; see `clip_adapter.adapters.PredictedRatios`.

    Attributes:
        branch: what is adapted.
        ratio_mode: what sets the residual ratios.
        residual_ratios: the visual branch's candidates.
        text_residual_ratios: the text branch's; None for the same six, or beside a visual branch,
            where every pair is tried, for 0.2, 0.6 and 1.
        reduction: feature width over hidden width; 4 in the paper.
        output_activation: the second ReLU of the authors' code.
        views: augmented views of each image to train on; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for a number outside its range.
    """

    name: ClassVar[str] = "clip-adapter"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

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

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train the models of each task, and keep its best where there is a choice.

        Raises:
            TaskError: for a task without validation images, or with a class of one image where
                shots are held out, if there is a ratio to choose; if it has fewer views.
            AdapterShapeError: if the reduction leaves no hidden unit at the features' width.
            DivergedError: if a model's loss or weights stop being finite.
        """
        grids = [self._grid(task) for task in tasks]
        selected_on = self._selected_on()
        run = self._run(device, progress)
        if selected_on == "validation":
            outcomes = choose_on_validation(grids, run)
        elif selected_on == "held-out shots":
            outcomes = choose_on_held_out_shots(grids, run)
        else:
            outcomes = train_only([grid[0] for grid in grids], run)
        return [
            Fitted(
                classifier=outcome.trained.classifier,
                settings={**outcome.trained.ratios, **self._settings(task)},
                selected_on=selected_on,
                candidates=outcome.candidates,
                loss_curve=outcome.trained.loss_curve,
                seconds=outcome.seconds,
            )
            for task, outcome in zip(tasks, outcomes, strict=True)
        ]

    def _selected_on(self) -> SelectedOn:
        if self.ratio_mode in {"learned", "hypernetwork"}:
            return "training"
        if len(self._points()) == 1:
            return "nothing"
        return "validation" if self.ratio_mode == "validation" else "held-out shots"

    def _training(self, task: FewShotTask) -> Training:
        return self.training.resolve(recipes_for(task.shots), shots=task.shots)

    def _grid(self, task: FewShotTask) -> list[Trial]:
        training = self._training(task)
        return [Trial(task=task, training=training, ratios=point) for point in self._points()]

    def _points(self) -> list[dict[str, float]]:
        """Every combination of ratios to be tried; one without any where these are learned."""
        if self.ratio_mode in {"learned", "hypernetwork"}:
            return [{}]
        axes: list[list[tuple[str, float]]] = []
        if self.branch != "text":
            axes.append([("residual_ratio", ratio) for ratio in self.residual_ratios])
        if self.branch != "visual":
            axes.append([("text_residual_ratio", ratio) for ratio in self._text_ratios()])
        return [dict(point) for point in product(*axes)]

    def _text_ratios(self) -> tuple[float, ...]:
        if self.text_residual_ratios is not None:
            return self.text_residual_ratios
        return TEXT_RATIOS_BESIDE_VISUAL if self.branch == "both" else RATIOS

    def _run(self, device: str, progress: Progress | None) -> Run:
        from clip_adapter.methods.clip_adapter.form import Form
        from clip_adapter.methods.clip_adapter.train import train

        sources: dict[RatioMode, RatioSource] = {
            "learned": "learned",
            "hypernetwork": "hypernetwork",
        }
        form = Form(
            branch=self.branch,
            ratios=sources.get(self.ratio_mode, "given"),
            reduction=self.reduction,
            output_activation=self.output_activation,
            views=self.views,
        )

        def run(trials: Sequence[Trial], *, share: float = 1.0) -> Iterator[tuple[int, Trained]]:
            visits = sum(trial.image_visits for trial in trials)
            report = progress and (lambda done: progress(done * share / visits))
            return train(form, trials, device=device, report=report)

        return run

    def _settings(self, task: FewShotTask) -> dict[str, float | int | str | bool]:
        return {
            "branch": self.branch,
            "ratio_mode": self.ratio_mode,
            "reduction": self.reduction,
            "output_activation": self.output_activation,
            "views": self.views,
            **self._training(task).settings(),
        }


def _check_ratios(name: str, ratios: Sequence[float]) -> None:
    if not ratios or any(not 0 <= ratio <= 1 for ratio in ratios):
        message = f"{name} is {tuple(ratios)}; expected one or more numbers from 0 to 1"
        raise SettingsError(message)
