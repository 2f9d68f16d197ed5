"""Tip-Adapter: the few shots as a cache, taken as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask

ALPHAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)
BETAS = (1.0, 2.0, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0)
"""Coarser than the authors' search of 200 betas and 20 alphas, whose ranges differ by dataset: up to
7 and 3 for most, 12 and 10 for EuroSAT (https://github.com/gaopengcuhk/Tip-Adapter, configs)."""


def check_cache_settings(alphas: Sequence[float], betas: Sequence[float], views: int) -> None:
    """Return if the grids and the number of views are in range; else raise `SettingsError`."""
    check_grid("alphas", alphas, at_least=0.0)
    check_grid("betas", betas, at_least=0.0)
    check_count("views", views)


@dataclass(frozen=True, kw_only=True)
class TipAdapter:
    """A cache of the training images beside zero-shot; nothing is trained.

    Source: Zhang et al. 2022, https://arxiv.org/abs/2207.09519, section 3.1. The formula stands
    with `CacheClassifier`.

    Attributes:
        alphas: candidates for the weight of the cache.
        betas: candidates for its sharpness; of several pairs validation chooses one.
        views: augmented views of each image of which a key is the mean direction; 0 for the image
            itself.

    Raises:
        SettingsError: for an empty grid or a number below 0.
    """

    name: ClassVar[str] = "tip-adapter"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    views: int = 0

    def __post_init__(self) -> None:
        check_cache_settings(self.alphas, self.betas, self.views)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # runs on the CPU wherever the others run
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fill each task's cache, then choose alpha and beta.

        Raises:
            TaskError: for a task without validation images, if there is a pair to choose, or with
                fewer views.
        """
        from clip_adapter.methods.fitting.tip_adapter import fit

        return fit(self, tasks, progress=progress)
