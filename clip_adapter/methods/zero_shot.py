"""Zero-shot CLIP: the nearest class prototype, without training images."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from clip_adapter.methods.method import Fitted, PerTaskMethod
from clip_adapter.methods.task import FewShotTask, class_prototypes


@dataclass(frozen=True, kw_only=True)
class ZeroShot(PerTaskMethod):
    """CLIP's own classifier (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

    Attributes:
        prompts: "ensemble", the mean direction of a class's prompts, or "single", the first prompt.
    """

    name: ClassVar[str] = "zero-shot"
    learns: ClassVar[bool] = False

    prompts: Literal["ensemble", "single"] = "ensemble"

    def fit_task(self, task: FewShotTask) -> Fitted:
        """Take the task's prototypes as the classifier."""
        from clip_adapter.methods.classifiers import PrototypeClassifier

        single = self.prompts == "single"
        classifier = PrototypeClassifier(
            class_prototypes=(
                class_prototypes(task.prompt_features[:, :1]) if single else task.class_prototypes
            ),
            logit_scale=task.logit_scale,
            class_names=task.class_names,
        )
        return Fitted(classifier=classifier, settings={"prompts": self.prompts})
