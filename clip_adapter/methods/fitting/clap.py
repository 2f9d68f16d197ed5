"""Fitting of CLAP."""

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


def fit_together(  # noqa: PLR0913  # the settings, each by its name
    trials: Sequence[Trial],
    *,
    training: Training,
    text_length: float,
    views: int,
    device: str,
    report: Report,
) -> Iterator[list[Fitted]]:
    """Train the prototypes of all tasks, and stop at each length."""
    data = StackedTasks.of([trial.task for trial in trials], views=views, device=device)
    text = text_length * data.prototypes
    multipliers = text_probabilities(data)
    stops = stop_epochs(trials, training)
    learned: dict[int, Float[Tensor, "t c d"]] = {}
    prototypes = text.clone().requires_grad_()

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " t"]:
        images, labels = data.batch(rows)
        scaled = torch.nn.functional.normalize(prototypes, dim=-1)
        scores = data.logit_scale * images @ scaled.transpose(1, 2)
        distances = (prototypes - text).square().sum(dim=-1)
        return mean_losses(scores, labels) + (multipliers * distances).mean(dim=-1)

    def keep(epoch: int) -> None:
        if epoch in stops:
            learned[epoch] = torch.nn.functional.normalize(prototypes.detach(), dim=-1).cpu()

    until = replace(training, stopped_epoch=max(stops))
    curves = train_stacked(
        [prototypes], losses, until, sets=data, progress=report, after_epoch=keep
    ).cpu()
    for number, trial in enumerate(trials):
        fitted = []
        for point in trial.points:
            stopped = training.stopping_at(point["length"])
            epochs = stopped.visited_epochs
            classifier = PrototypeClassifier(
                class_prototypes=learned[epochs][number].numpy(),
                logit_scale=trial.task.logit_scale,
                class_names=trial.task.class_names,
            )
            fitted.append(
                Fitted(
                    classifier=classifier,
                    settings={"text_length": text_length, "views": views, **stopped.settings()},
                    loss_curve=tuple(curves[:epochs, number].tolist()),
                )
            )
        yield fitted


def text_probabilities(data: StackedTasks) -> Float[Tensor, "t c"]:
    """The mean probability that zero-shot gives the class of each class's own images or views."""
    scores = data.logit_scale * data.directions @ data.prototypes.transpose(1, 2)
    labels = data.labels.repeat(1, max(1, data.views))
    members = torch.nn.functional.one_hot(labels, scores.shape[-1]).to(scores.dtype)
    return (torch.softmax(scores, dim=-1) * members).sum(dim=1) / members.sum(dim=1)
