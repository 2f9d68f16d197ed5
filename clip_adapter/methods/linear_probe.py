"""Logistic regression on normalised features, the baseline of the CLIP paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count
from clip_adapter.methods.task import FewShotTask


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """L-BFGS logistic regression whose inverse regularisation C is searched on validation.

    The search is CLIP's (Radford et al. 2021, https://arxiv.org/abs/2103.00020, appendix A.3):
    seven values from 1e-6 to 1e6, then `refinements` rounds that try both neighbours of the
    best value so far at half the previous distance in log space.

    Attributes:
        max_iterations: of L-BFGS; 1000 in the paper.
        refinements: 4 rounds bring the step from 100x to about 1.33x.

    Raises:
        SettingsError: for a number below its range.
    """

    name: ClassVar[str] = "linear-probe"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    max_iterations: int = 1000
    refinements: int = 4

    def __post_init__(self) -> None:
        check_count("max_iterations", self.max_iterations, at_least=1)
        check_count("refinements", self.refinements)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # runs on the CPU wherever the others run
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Search and fit, task by task.

        Raises:
            TaskError: for a task without validation images.
        """
        from clip_adapter.methods.fitting.linear_probe import fit

        return fit(self, tasks, progress=progress)
