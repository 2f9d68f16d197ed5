"""Tip-Adapter-F: the few shots as a cache whose keys are trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tip_adapter import (
    ALPHAS,
    BETAS,
    check_cache_settings,
)
from clip_adapter.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TipAdapterF:
    """Tip-Adapter whose keys are trained, from the cached features on.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.2: cross-entropy of
    `CacheClassifier`'s logits at `initial_alpha` and `initial_beta`, of which only the keys move;
    then alpha and beta are chosen as in Tip-Adapter.

    Attributes:
        initial_alpha: weight of the cache while the keys are trained.
        initial_beta: its sharpness then.
        alphas: candidates for the weight afterwards.
        betas: candidates for the sharpness; of several pairs validation chooses one.
        views: augmented views of each image: a key starts as their mean direction, and each epoch
            visits one drawn among them; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for an empty grid or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter-f"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    initial_alpha: float = 1.0
    initial_beta: float = 5.5
    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_cache_settings(self.alphas, self.betas, self.views)
        check_grid("initial_alpha", (self.initial_alpha,), at_least=0.0)
        check_grid("initial_beta", (self.initial_beta,), at_least=0.0)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train each task's keys, those of one shape together, then choose alpha and beta.

        Raises:
            TaskError: for a task without validation images, if there is a pair to choose, or with
                fewer views.
            DivergedError: if a loss or key stops being finite.
        """
        from clip_adapter.methods.fitting.tip_adapter_f import fit

        return fit(self, tasks, device=device, progress=progress)
