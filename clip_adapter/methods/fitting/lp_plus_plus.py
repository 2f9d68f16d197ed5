"""Fitting of LP++."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.grid_method import Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.training import check_finite
from clip_adapter.training.settings import epoch_of

INITIAL_ALPHA = 2.5
"""Factor of the logit scale and the mean cosine: the authors' 250 at CLIP's scale of 100."""


def fit_together(  # noqa: PLR0913  # the settings, each by its name
    trials: Sequence[Trial],
    *,
    iterations: int,
    alpha_every: int,
    momentum: float,
    device: str,
    report: Report,
) -> Iterator[list[Fitted]]:
    """Learn the two blocks of all tasks; the settings are those of `LpPlusPlus`."""
    blocks = _Blocks.of(StackedTasks.of([trial.task for trial in trials], device=device))
    stops = [[epoch_of(point["length"], iterations) for point in trial.points] for trial in trials]
    learned, losses = _learn(
        blocks,
        {stop for of_trial in stops for stop in of_trial},
        alpha_every=alpha_every,
        momentum=momentum,
        report=report,
    )
    for number, (trial, of_trial) in enumerate(zip(trials, stops, strict=True)):
        fitted = []
        for stop in of_trial:
            weight = learned[stop][number]
            classifier = LinearClassifier(
                weight=weight.numpy(),
                bias=weight.new_zeros(len(weight)).numpy(),
                class_names=trial.task.class_names,
            )
            settings = {"epochs": iterations, "stopped_epoch": stop, "momentum": momentum}
            curve = tuple(losses[:stop, number].tolist())
            fitted.append(Fitted(classifier=classifier, settings=settings, loss_curve=curve))
        yield fitted


def _learn(
    blocks: "_Blocks",
    stops: Collection[int],
    *,
    alpha_every: int,
    momentum: float,
    report: Report,
) -> tuple[dict[int, Float[Tensor, "g c d"]], Float[Tensor, "e g"]]:
    """Train the blocks in turns.

    Returns:
        The weights after each number of steps in `stops`, and the loss before each step of w, on the
        CPU.
    """
    steps_of_w, steps_of_alpha = blocks.steps()
    velocity = torch.zeros_like(blocks.w)
    learned, curves = {0: blocks.blended().cpu()}, [blocks.w.new_zeros(0, len(blocks.w))]
    for iteration in range(1, max(stops) + 1):
        losses, of_w, of_alpha = blocks.gradients()
        curves.append(losses[None])
        velocity.mul_(momentum).add_(of_w)
        if iteration % alpha_every == 0:
            blocks.alpha -= steps_of_alpha[:, None] * of_alpha
        blocks.w -= steps_of_w[:, None, None] * velocity
        if iteration in stops:
            learned[iteration] = blocks.blended().cpu()
        report(len(losses))
    return learned, check_finite(torch.cat(curves), [blocks.w, blocks.alpha]).cpu()


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
        """Twice the reciprocal of the Lipschitz constant of w, and the reciprocal of that of alpha."""
        n = self.images.shape[1]
        # The eigenvalues of F'F and FF' are the same; the smaller of the two is faster.
        tall = n > self.images.shape[2]
        gram = (
            self.images.transpose(1, 2) @ self.images
            if tall
            else self.images @ self.images.transpose(1, 2)
        )
        largest = torch.linalg.eigvalsh(gram)[:, -1]
        return 4 * n / largest, 2 * n / self.cosines.square().sum(dim=1).amax(dim=1)

    def gradients(self) -> tuple[Float[Tensor, " g"], Float[Tensor, "g c d"], Float[Tensor, "g c"]]:
        """Each task's mean loss, and its gradients by w and by alpha."""
        scores = self.images @ self.w.transpose(1, 2) + self.alpha[:, None] * self.cosines
        log_probabilities = torch.log_softmax(scores, dim=-1)
        losses = -(self.targets * log_probabilities).sum(dim=-1).mean(dim=1)
        errors = (log_probabilities.exp() - self.targets) / scores.shape[1]
        of_alpha = (errors * self.cosines).sum(dim=1)
        return losses, errors.transpose(1, 2) @ self.images, of_alpha
