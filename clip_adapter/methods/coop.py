"""CoOp: prompts learned by gradient descent through the frozen text tower."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import (
    SettingsError,
    TrainingSettings,
)

ClassPosition = Literal["end", "middle"]


@dataclass(frozen=True, kw_only=True)
class CoOp:
    """Learned context tokens before (or around) the class name.

    `w_c = text_tower([V]1 ... [V]M, CLASS_c, .)`, trained by cross-entropy of
    `logit_scale * cos(f, w_c)` on cached image features (Zhou et al. 2022,
    https://arxiv.org/abs/2109.01134, section 3.2). Nothing is selected. What is learned ends as
    class prototypes, which need the tower no more.

    Attributes:
        n_context: context tokens M; ignored where words start the context.
        class_position: the class name stands at the end, or in the middle.
        class_specific: each class has contexts of its own (CSC), instead of one for all.
        context_init: words the context starts from; noise of deviation 0.02 where empty.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: for a number outside its range.
    """

    name: ClassVar[str] = "coop"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = True

    n_context: int = 16
    class_position: ClassPosition = "end"
    class_specific: bool = False
    context_init: str = ""
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        for name, smallest in (("n_context", 1), ("views", 0)):
            if getattr(self, name) < smallest:
                message = f"{name} is {getattr(self, name)}; expected {smallest} or more"
                raise SettingsError(message)
        if self.context_init and not self.context_init.strip():
            message = "context_init holds no word: leave it empty to start from noise"
            raise SettingsError(message)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # where the text tower is
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Learn each task's context; tasks of one size share the batches of the tower.

        Raises:
            TaskError: for a task without a text tower or views, or a prompt too long for it.
            DivergedError: if a loss or context stops being finite.
        """
        from clip_adapter.methods.fitting.coop import fit

        return fit(self, tasks, progress=progress)
