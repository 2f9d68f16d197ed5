"""Gaussian discriminant analysis: class means and one covariance, no training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask


@dataclass(frozen=True, kw_only=True)
class Gda:
    """The linear classifier of Gaussian classes with one covariance, added to zero-shot.

    `logit_scale * cos(f, w_c) + alpha * (f . v_c + b_c)` with f of length 1,
    `v_c = P mean_c`, `b_c = log(1 / c) - mean_c . P mean_c / 2` and the precision
    `P = d ((n - 1) S + tr(S) I)^-1` of the n features' deviations from their class's mean (Wang
    et al. 2024, https://arxiv.org/abs/2402.04087, section 3.1). With one feature a class nothing
    deviates: P is then `d I`, that of features spread over the whole sphere.

    Attributes:
        alphas: candidates for the weight of the Gaussian classifier; of several validation
            chooses one.
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: for an empty grid or a number below 0.
    """

    name: ClassVar[str] = "gda"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    alphas: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
    views: int = 0

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # runs on the CPU wherever the others run
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Measure each task's means and covariance, then choose alpha.

        Raises:
            TaskError: for a task without validation images, if there is an alpha to choose, or
                with fewer views.
        """
        from clip_adapter.methods.fitting.gda import fit

        return fit(self, tasks, progress=progress)
