"""One of the paper's forms, and its untrained models."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.adapters import (
    FixedRatios,
    LearnedRatios,
    PredictedRatios,
    ResidualAdapter,
    StackedBranch,
    StackedForms,
)
from clip_adapter.adapters.ratios import Ratios
from clip_adapter.methods.clip_adapter.method import Branch, RatioSource
from clip_adapter.methods.clip_adapter.trial import Trial

Weights = tuple[Float[Tensor, "d h"], Float[Tensor, "h d"]]


@dataclass(frozen=True, kw_only=True)
class Form:
    """What all models of a training have in common.

    Attributes:
        branch: what is adapted.
        ratios: where the residual ratios come from.
        reduction: feature width over hidden width.
        output_activation: whether a second ReLU follows the up-projection.
        views: augmented views of each image to train on; 0 for the image itself.
    """

    branch: Branch
    ratios: RatioSource
    reduction: int
    output_activation: bool
    views: int

    @property
    def ratio_names(self) -> tuple[str, ...]:
        """The residual ratios it has."""
        visual = ("residual_ratio",) if self.branch != "text" else ()
        text = ("text_residual_ratio",) if self.branch != "visual" else ()
        return visual + text

    def untrained(self, trials: Sequence[Trial]) -> StackedForms:
        """One model a trial.

        The weights are drawn from the seed of its task alone, those of the visual branch before
        those of the text branch: so all ratios start alike.
        """
        drawn: dict[int, list[Weights]] = {}
        for trial in trials:
            if trial.task.seed not in drawn:
                drawn[trial.task.seed] = self._draw(trial)
        branches = {
            name: self._branch(name, [drawn[trial.task.seed][number] for trial in trials], trials)
            for number, name in enumerate(self.ratio_names)
        }
        return StackedForms(
            visual=branches.get("residual_ratio"), text=branches.get("text_residual_ratio")
        )

    def _draw(self, trial: Trial) -> list[Weights]:
        width = trial.task.class_prototypes.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trial.task.seed)
            adapters = [ResidualAdapter(width, reduction=self.reduction) for _ in self.ratio_names]
        return [
            (adapter.down.weight.detach().T, adapter.up.weight.detach().T) for adapter in adapters
        ]

    def _branch(
        self, ratio_name: str, weights: Sequence[Weights], trials: Sequence[Trial]
    ) -> StackedBranch:
        width = len(weights[0][0])
        return StackedBranch(
            torch.stack([down for down, _ in weights]).contiguous(),
            torch.stack([up for _, up in weights]).contiguous(),
            ratios=self._ratios(ratio_name, trials, width),
            output_activation=self.output_activation,
        )

    def _ratios(self, name: str, trials: Sequence[Trial], width: int) -> Ratios:
        if self.ratios == "given":
            return FixedRatios([trial.ratios[name] for trial in trials])
        if self.ratios == "learned":
            return LearnedRatios(len(trials))
        return PredictedRatios(len(trials), width)
