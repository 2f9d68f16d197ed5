"""LP++: a linear probe that adds text at a weight learned for each class."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.groups import Report, StackedTasks, fit_in_groups, models_at_once
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import check_count
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import SettingsError
from clip_adapter.training.descent import check_finite

__all__ = ["LpPlusPlus"]

INITIAL_ALPHA = 2.5
"""Times the logit scale and the mean cosine: the authors' 250 at CLIP's scale of 100."""


@dataclass(frozen=True, kw_only=True)
class LpPlusPlus:
    """Image prototypes beside text prototypes, blended class by class, all learned.

    `f . (w_c + alpha_c t_c)` with f and t of length 1, trained by full-batch cross-entropy over w
    and alpha in turns (Huang et al. 2024, https://arxiv.org/abs/2404.02285, sections 3 and 4). Where
    the blocks start and how far they step is computed from the data, so nothing is selected:

    - w starts at the class means of f, every alpha at `2.5 logit_scale` times the mean over the
      classes of `mean_i[y_i = c] f_i . t_c`;
    - a step is the reciprocal of the block's Lipschitz constant, by the curvature of
      cross-entropy, at most 1/2: `largest eigenvalue of F'F / 2n` for w,
      `max_c sum_i (f_i . t_c)^2 / 2n` for alpha. Each then minimises a majoriser of the loss.

    Attributes:
        iterations: steps of w.
        alpha_every: steps of w for each of alpha.
        momentum: of the steps of w, which it speeds up; at 0 no step raises the loss.

    Raises:
        SettingsError: for a number outside its range.
    """

    name: ClassVar[str] = "lp++"
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    iterations: int = 300
    alpha_every: int = 10
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_count("iterations", self.iterations, at_least=1)
        check_count("alpha_every", self.alpha_every, at_least=1)
        if not 0 <= self.momentum < 1:
            message = f"momentum is {self.momentum}; expected 0 or more, below 1"
            raise SettingsError(message)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Learn each task's two blocks, tasks of one shape together.

        Raises:
            DivergedError: if a loss or weight stops being finite.
        """
        return fit_in_groups(
            lambda group, report: self._fit_group(group, device, report),
            tasks,
            progress,
            work=lambda _: self.iterations,
            at_once=lambda task: models_at_once(task.class_prototypes.size),
        )

    def _fit_group(self, tasks: list[FewShotTask], device: str, report: Report) -> list[Fitted]:
        start = time.perf_counter()
        blocks = _Blocks.of(StackedTasks.of(tasks, device=device))
        curves = self._learn(blocks, report).cpu().T.tolist()
        learned = blocks.blended().cpu()
        seconds = (time.perf_counter() - start) / len(tasks)
        return [
            Fitted(
                classifier=LinearClassifier(
                    weight=weight.numpy(),
                    bias=weight.new_zeros(len(weight)).numpy(),
                    class_names=task.class_names,
                ),
                settings={"epochs": self.iterations, "momentum": self.momentum},
                selected_on="training",
                loss_curve=tuple(curve),
                seconds=seconds,
            )
            for task, weight, curve in zip(tasks, learned, curves, strict=True)
        ]

    def _learn(self, blocks: "_Blocks", report: Report) -> Float[Tensor, "e g"]:
        """Step the blocks in turns; the loss before each step of w."""
        steps_of_w, steps_of_alpha = blocks.steps()
        velocity = torch.zeros_like(blocks.w)
        curves = []
        for iteration in range(1, self.iterations + 1):
            losses, of_w, of_alpha = blocks.gradients()
            curves.append(losses)
            velocity.mul_(self.momentum).add_(of_w)
            if iteration % self.alpha_every == 0:
                blocks.alpha -= steps_of_alpha[:, None] * of_alpha
            blocks.w -= steps_of_w[:, None, None] * velocity
            report(len(losses))
        return check_finite(torch.stack(curves), [blocks.w, blocks.alpha])


@dataclass(kw_only=True)
class _Blocks:
    """The two blocks of every task, and what their gradients need; they change in place."""

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
        # The eigenvalues of F'F and FF' are the same; the smaller of the two is quicker.
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
