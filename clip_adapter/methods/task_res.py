"""TaskRes: what a task adds to the class prototypes, learned beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TaskRes:
    """A residual of each class prototype, learned from zero.

    `w'_c = w_c + alpha * x_c`, trained by cross-entropy of `logit_scale * cos(f, w'_c)` (Yu et
    al. 2023, https://arxiv.org/abs/2211.10277, section 3.2). Here w has length 1. The authors'
    is as long as the encoder makes it, and of length s it learns with alpha what a w of length 1
    learns with alpha / s: CLIP's text features have lengths of about 10, so that the smallest of
    our candidates is nearest their 0.5.

    Attributes:
        alphas: candidates for alpha, all trained together; of several validation chooses one.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for an empty grid or a number below 0.
    """

    name: ClassVar[str] = "task-res"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    alphas: tuple[float, ...] = (0.05, 0.1, 0.5, 1.0)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train the residuals of each task at each alpha, then keep each task's best.

        Raises:
            TaskError: for a task without validation images, if there is an alpha to choose, or
                with fewer views.
            DivergedError: if a loss or residual stops being finite.
        """
        from clip_adapter.methods.fitting.task_res import fit

        return fit(self, tasks, device=device, progress=progress)
