"""Cross-modal linear probe: prompts are training samples of their class, like images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class CrossModalProbe:
    """A linear head on image and text features alike, which starts as zero-shot.

    `logit_scale * f . w_c` with f of length 1, w from the class prototypes on, trained by
    cross-entropy of batches of which half are images, half prompts (Lin et al. 2023,
    https://arxiv.org/abs/2301.06267, section 3). Each image of a batch comes with a prompt of its
    class, drawn anew; the paper draws prompts and images apart.

    Attributes:
        learning_rates: candidates; a rate given to the training leaves only that.
        weight_decays: candidates; a decay given to the training leaves only that. Of several
            pairs validation chooses one.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length; batch_size counts images, so half of what a step
            sees.

    Raises:
        SettingsError: for an empty grid or a number out of range.
    """

    name: ClassVar[str] = "cross-modal-probe"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    learning_rates: tuple[float, ...] = (1e-3, 1e-4)
    weight_decays: tuple[float, ...] = (1e-2,)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("learning_rates", self.learning_rates, at_least=1e-15)
        check_grid("weight_decays", self.weight_decays, at_least=0.0)
        check_count("views", self.views)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Train a head a task and pair of rate and decay, then keep each task's best.

        Raises:
            TaskError: for a task without validation images, if there is a pair to choose, or with
                fewer views.
            DivergedError: if a loss or weight stops being finite.
        """
        from clip_adapter.methods.fitting.cross_modal import fit

        return fit(self, tasks, device=device, progress=progress)
