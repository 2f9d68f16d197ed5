"""Fitting of TaskRes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import PrototypeClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.grid_method import Report, Trial, stop_epochs
from clip_adapter.methods.method import Fitted
from clip_adapter.training import Training, mean_losses, train_stacked


def fit_together(
    trials: Sequence[Trial], *, training: Training, views: int, device: str, report: Report
) -> Iterator[list[Fitted]]:
    """Train the residuals of all tasks, each at its alphas, and stop at each length."""
    data = StackedTasks.of([trial.task for trial in trials], views=views, device=device)
    models = [[point["alpha"] for point in trial.distinct("alpha")] for trial in trials]
    stops = stop_epochs(trials, training)
    learned, curves = _learn(torch.tensor(models, device=device), data, training, stops, report)
    for number, (trial, alphas) in enumerate(zip(trials, models, strict=True)):
        fitted = []
        for point in trial.points:
            stopped, model = training.stopping_at(point["length"]), alphas.index(point["alpha"])
            epochs = stopped.visited_epochs
            classifier = PrototypeClassifier(
                class_prototypes=learned[epochs][number, model].numpy(),
                logit_scale=trial.task.logit_scale,
                class_names=trial.task.class_names,
            )
            fitted.append(
                Fitted(
                    classifier=classifier,
                    settings={"views": views, **stopped.settings()},
                    loss_curve=tuple(curves[:epochs, number, model].tolist()),
                )
            )
        yield fitted


def _learn(
    alphas: Float[Tensor, "t a"],
    data: StackedTasks,
    training: Training,
    stops: Sequence[int],
    report: Report,
) -> tuple[dict[int, Float[Tensor, "t a c d"]], Float[Tensor, "e t a"]]:
    """Learn the prototypes of each task at each of its alphas.

    Returns:
        The prototypes after each number of epochs in `stops`, and the losses, on the CPU.
    """
    n_tasks, n_alphas = alphas.shape
    residuals = torch.zeros_like(data.prototypes.repeat_interleave(n_alphas, dim=0))
    residuals.requires_grad_()
    learned: dict[int, Float[Tensor, "t a c d"]] = {}

    def prototypes() -> Float[Tensor, "t a c d"]:
        added = alphas[..., None, None] * residuals.view(n_tasks, n_alphas, *residuals.shape[1:])
        return torch.nn.functional.normalize(data.prototypes[:, None] + added, dim=-1)

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        images, labels = data.batch(rows)
        scores = data.logit_scale * images[:, None] @ prototypes().transpose(2, 3)
        return mean_losses(scores.flatten(0, 1), labels.repeat_interleave(n_alphas, dim=0))

    def keep(epoch: int) -> None:
        if epoch in stops:
            learned[epoch] = prototypes().detach().cpu()

    until = replace(training, stopped_epoch=max(stops))
    curves = train_stacked([residuals], losses, until, sets=data, progress=report, after_epoch=keep)
    return learned, curves.cpu().view(-1, n_tasks, n_alphas)
