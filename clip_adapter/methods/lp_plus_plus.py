"""LP++: a linear probe that adds text with a weight learned for each class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from clip_adapter.errors import SettingsError
from clip_adapter.methods.grid_method import (
    TRAINED,
    GridMethod,
    Point,
    Report,
    Trial,
    floats_of,
    models_in_memory,
)
from clip_adapter.methods.method import Fitted, SelectedOn
from clip_adapter.methods.selection import check_count
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import check_lengths, distinct_lengths, epoch_of, value_at

LENGTHS = (0.0, 0.03, 0.1, 0.25, 0.5, 1.0)
LOGITS = 4
"""Arrays as large as the logits of the training images: cosines, targets, logits and their gradient."""
DEFAULT_LENGTHS = ((1, 0.1), (2, 0.25), (4, 0.5), (16, 1.0))


@dataclass(frozen=True, kw_only=True)
class LpPlusPlus(GridMethod):
    """Image prototypes beside text prototypes, blended class by class, all learned.

    `f . (w_c + alpha_c t_c)` with f and t of length 1, trained by full-batch cross-entropy over w
    and alpha in turns (Huang et al. 2024, https://arxiv.org/abs/2404.02285, sections 3 and 4). The
    initial blocks and the step sizes are computed from the data, so that only the length is selected:

    - w starts at the class means of f, every alpha at `2.5 logit_scale` times the mean over the
      classes of `mean_i[y_i = c] f_i . t_c`;
    - a step is made of the block's Lipschitz constant, by the curvature of cross-entropy, at most 1/2:
      `largest eigenvalue of F'F / 2n` for w, `max_c sum_i (f_i . t_c)^2 / 2n` for alpha. A step of
      alpha is its reciprocal; one of w, as the authors', twice its reciprocal, the longest of which
      the loss does not diverge.

    Attributes:
        iterations: number of steps of w.
        alpha_every: steps of w for each step of alpha.
        momentum: momentum of the steps of w, which it speeds up; at 0 no step raises the loss.
        lengths: fractions of the iterations after which the training may stop; 0 is the start.

    Raises:
        SettingsError: a number is outside its range.
    """

    name: ClassVar[str] = "lp++"

    iterations: int = 300
    alpha_every: int = 10
    momentum: float = 0.9
    lengths: tuple[float, ...] = LENGTHS

    def __post_init__(self) -> None:
        check_count("iterations", self.iterations, at_least=1)
        check_count("alpha_every", self.alpha_every, at_least=1)
        check_lengths(self.lengths)
        if not 0 <= self.momentum < 1:
            message = f"momentum is {self.momentum}; expected 0 or more, below 1"
            raise SettingsError(message)

    @property
    def without_choice(self) -> SelectedOn:
        """The blend of text and images is a weight: "training"."""
        return "training"

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Lengths."""
        return {"length": distinct_lengths(self.lengths, self.iterations)}

    def defaults(self, task: FewShotTask) -> Point:
        """A length that grows with the shots."""
        return {"length": value_at(task.shots, DEFAULT_LENGTHS)}

    def work(self, trial: Trial) -> int:
        """Iterations."""
        return max(epoch_of(point["length"], self.iterations) for point in trial.points)

    def most_together(self, trial: Trial) -> int:
        """How many tasks' images, logits and image prototypes fit into memory together, at all lengths."""
        task = trial.task
        logits = LOGITS * len(task.train_labels) * len(task.class_names)
        blocks = task.class_prototypes.size * (TRAINED + len(trial.points))
        return models_in_memory(floats_of(task) + logits + blocks)

    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Learn the two blocks of all tasks."""
        from clip_adapter.methods.fitting.lp_plus_plus import fit_together

        return fit_together(
            trials,
            iterations=self.iterations,
            alpha_every=self.alpha_every,
            momentum=self.momentum,
            device=device,
            report=report,
        )
