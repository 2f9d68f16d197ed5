"""CLIP as it is: nearest class prototype, no training image used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask, class_prototypes


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """CLIP's own classifier (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

    Attributes:
        prompts: "ensemble", the mean direction of a class's prompts, or "single", the first.
    """

    name: ClassVar[str] = "zero-shot"
    learns: ClassVar[bool] = False
    needs_text_tower: ClassVar[bool] = False

    prompts: Literal["ensemble", "single"] = "ensemble"

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # runs on the CPU wherever the others run
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Take each task's prototypes as the classifier."""
        from clip_adapter.methods.classifiers import PrototypeClassifier

        if progress is not None:
            progress(1.0)
        return [
            Fitted(
                classifier=PrototypeClassifier(
                    class_prototypes=self._prototypes(task),
                    logit_scale=task.logit_scale,
                    class_names=task.class_names,
                ),
                settings={"prompts": self.prompts},
            )
            for task in tasks
        ]

    def _prototypes(self, task: FewShotTask) -> Float[np.ndarray, "c d"]:
        if self.prompts == "single":
            return class_prototypes(task.prompt_features[:, :1])
        return task.class_prototypes
