"""CLIP as it is: nearest class prototype, no training image used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.adapters import logits
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor

__all__ = ["PrototypeClassifier", "ZeroShot"]


@dataclass(frozen=True)
class PrototypeClassifier:
    """Scaled cosine similarity to one prototype a class."""

    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features."""
        prototypes = float_tensor(self.class_prototypes)
        return logits(float_tensor(features), prototypes, self.logit_scale).numpy()


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """CLIP's own classifier (Radford et al. 2021, https://arxiv.org/abs/2103.00020)."""

    name: ClassVar[str] = "zero-shot"
    learns: ClassVar[bool] = False

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # runs on the CPU wherever the others run
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Take each task's prototypes as the classifier."""
        if progress is not None:
            progress(1.0)
        return [
            Fitted(
                classifier=PrototypeClassifier(task.class_prototypes, task.logit_scale),
                settings={},
            )
            for task in tasks
        ]
