"""Fitting of LP++."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.method import Fitted, Report
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import check_finite

INITIAL_ALPHA = 2.5
"""Factor of the logit scale and the mean cosine: the authors' 250 at CLIP's scale of 100."""


def fit_together(  # noqa: PLR0913  # the settings, each by its name
    tasks: list[FewShotTask],
    *,
    iterations: int,
    alpha_every: int,
    momentum: float,
    device: str,
    report: Report,
) -> list[Fitted]:
    """Learn the two blocks of all tasks; the settings are those of `LpPlusPlus`."""
    blocks = _Blocks.of(StackedTasks.of(tasks, device=device))
    losses = _learn(
        blocks, iterations=iterations, alpha_every=alpha_every, momentum=momentum, report=report
    )
    curves = losses.cpu().T.tolist()
    return [
        Fitted(
            classifier=LinearClassifier(
                weight=weight.numpy(),
                bias=weight.new_zeros(len(weight)).numpy(),
                class_names=task.class_names,
            ),
            settings={"epochs": iterations, "momentum": momentum},
            selected_on="training",
            loss_curve=tuple(curve),
        )
        for task, weight, curve in zip(tasks, blocks.blended().cpu(), curves, strict=True)
    ]


def _learn(
    blocks: "_Blocks", *, iterations: int, alpha_every: int, momentum: float, report: Report
) -> Float[Tensor, "e g"]:
    """Train the blocks in turns; returns the loss before each step of w."""
    steps_of_w, steps_of_alpha = blocks.steps()
    velocity = torch.zeros_like(blocks.w)
    curves = []
    for iteration in range(1, iterations + 1):
        losses, of_w, of_alpha = blocks.gradients()
        curves.append(losses)
        velocity.mul_(momentum).add_(of_w)
        if iteration % alpha_every == 0:
            blocks.alpha -= steps_of_alpha[:, None] * of_alpha
        blocks.w -= steps_of_w[:, None, None] * velocity
        report(len(losses))
    return check_finite(torch.stack(curves), [blocks.w, blocks.alpha])


@dataclass(kw_only=True)
class _Blocks:
    """The two blocks of every task, which change in place, and constants of their gradients."""

    images: Float[Tensor, "g n d"]
    targets: Float[Tensor, "g n c"]
    text: Float[Tensor, "g c d"]
    cosines: Float[Tensor, "g n c"]
    w: Float[Tensor, "g c d"]
    alpha: Float[Tensor, "g c"]

    @classmethod
    def of(cls, data: StackedTasks) -> "_Blocks":
        images, text = data.directions, data.prototypes
        targets = torch.nn.functional.one_hot(data.labels, text.shape[1]).to(images.dtype)
        cosines = images @ text.transpose(1, 2)
        shares = targets / targets.sum(dim=1, keepdim=True)
        mean_cosines = (shares * cosines).sum(dim=1).mean(dim=1)
        initial = INITIAL_ALPHA * data.logit_scale * mean_cosines
        return cls(
            images=images,
            targets=targets,
            text=text,
            cosines=cosines,
            w=shares.transpose(1, 2) @ images,
            alpha=initial[:, None].repeat(1, text.shape[1]),
        )

    def blended(self) -> Float[Tensor, "g c d"]:
        """The weight of the linear classifier."""
        return self.w + self.alpha[..., None] * self.text

    def steps(self) -> tuple[Float[Tensor, " g"], Float[Tensor, " g"]]:
        """The reciprocals of the Lipschitz constants of w and alpha."""
        n = self.images.shape[1]
        # The eigenvalues of F'F and FF' are the same; the smaller of the two is faster.
        tall = n > self.images.shape[2]
        gram = (
            self.images.transpose(1, 2) @ self.images
            if tall
            else self.images @ self.images.transpose(1, 2)
        )
        largest = torch.linalg.eigvalsh(gram)[:, -1]
        return 2 * n / largest, 2 * n / self.cosines.square().sum(dim=1).amax(dim=1)

    def gradients(self) -> tuple[Float[Tensor, " g"], Float[Tensor, "g c d"], Float[Tensor, "g c"]]:
        """Each task's mean loss, and its gradients by w and by alpha."""
        scores = self.images @ self.w.transpose(1, 2) + self.alpha[:, None] * self.cosines
        log_probabilities = torch.log_softmax(scores, dim=-1)
        losses = -(self.targets * log_probabilities).sum(dim=-1).mean(dim=1)
        errors = (log_probabilities.exp() - self.targets) / scores.shape[1]
        of_alpha = (errors * self.cosines).sum(dim=1)
        return losses, errors.transpose(1, 2) @ self.images, of_alpha
