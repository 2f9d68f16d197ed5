"""LP++: a linear probe that adds text with a weight learned for each class."""

from dataclasses import dataclass
from typing import ClassVar

from clip_adapter.errors import SettingsError
from clip_adapter.methods.method import Fitted, Report, StackedMethod, models_in_memory
from clip_adapter.methods.selection import check_count
from clip_adapter.methods.task import FewShotTask


@dataclass(frozen=True, kw_only=True)
class LpPlusPlus(StackedMethod):
    """Image prototypes beside text prototypes, blended class by class, all learned.

    `f . (w_c + alpha_c t_c)` with f and t of length 1, trained by full-batch cross-entropy over w
    and alpha in turns (Huang et al. 2024, https://arxiv.org/abs/2404.02285, sections 3 and 4). The
    initial blocks and the step sizes are computed from the data, so that nothing is selected:

    - w starts at the class means of f, every alpha at `2.5 logit_scale` times the mean over the
      classes of `mean_i[y_i = c] f_i . t_c`;
    - a step is the reciprocal of the block's Lipschitz constant, by the curvature of
      cross-entropy, at most 1/2: `largest eigenvalue of F'F / 2n` for w,
      `max_c sum_i (f_i . t_c)^2 / 2n` for alpha. Each then minimises a majoriser of the loss.

    Attributes:
        iterations: number of steps of w.
        alpha_every: steps of w for each step of alpha.
        momentum: momentum of the steps of w, which it speeds up; at 0 no step raises the loss.

    Raises:
        SettingsError: a number is outside its range.
    """

    name: ClassVar[str] = "lp++"

    iterations: int = 300
    alpha_every: int = 10
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_count("iterations", self.iterations, at_least=1)
        check_count("alpha_every", self.alpha_every, at_least=1)
        if not 0 <= self.momentum < 1:
            message = f"momentum is {self.momentum}; expected 0 or more, below 1"
            raise SettingsError(message)

    def work(self, task: FewShotTask) -> int:  # noqa: ARG002  # equal for all tasks
        """Iterations."""
        return self.iterations

    def most_together(self, task: FewShotTask) -> int:
        """How many tasks' image prototypes fit into memory together."""
        return models_in_memory(task.class_prototypes.size)

    def fit_together(
        self, tasks: list[FewShotTask], *, device: str, report: Report
    ) -> list[Fitted]:
        """Learn the two blocks of all tasks."""
        from clip_adapter.methods.fitting.lp_plus_plus import fit_together

        return fit_together(
            tasks,
            iterations=self.iterations,
            alpha_every=self.alpha_every,
            momentum=self.momentum,
            device=device,
            report=report,
        )
