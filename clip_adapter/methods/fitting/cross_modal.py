"""Fitting of the cross-modal linear probe."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.grid_method import Report, Trial, stop_epochs
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import Training, mean_losses, train_stacked

PAIR = "learning_rate", "weight_decay"


def fit_together(
    trials: Sequence[Trial], training: Training, *, views: int, device: str, report: Report
) -> Iterator[list[Fitted]]:
    """Train a head for each task and pair of a learning rate and a weight decay."""
    points = [point for trial in trials for point in trial.points]
    stops = stop_epochs(trials, training)
    fitted: dict[tuple[int, int], Fitted] = {}
    for pair in Trial(task=trials[0].task, points=points).distinct(*PAIR):
        numbers = [n for n, trial in enumerate(trials) if pair in trial.distinct(*PAIR)]
        tasks = [trials[number].task for number in numbers]
        settings = replace(
            training,
            learning_rate=pair["learning_rate"],
            weight_decay=pair["weight_decay"],
            stopped_epoch=stops[-1],
        )
        heads, curves = _learn(tasks, settings, stops, views=views, device=device, report=report)
        for place, number in enumerate(numbers):
            for position, point in enumerate(trials[number].points):
                if pair.items() <= point.items():
                    stopped = settings.stopping_at(point["length"])
                    epochs = stopped.visited_epochs
                    fitted[number, position] = Fitted(
                        classifier=_classifier(tasks[place], heads[epochs][place]),
                        settings={"views": views, **stopped.settings()},
                        loss_curve=tuple(curves[:epochs, place].tolist()),
                    )
    for number, trial in enumerate(trials):
        yield [fitted[number, position] for position in range(len(trial.points))]


def _classifier(task: FewShotTask, weights: Float[Tensor, "c d"]) -> LinearClassifier:
    return LinearClassifier(
        weight=(task.logit_scale * weights).numpy(),
        bias=np.zeros(len(weights), dtype=np.float32),
        class_names=task.class_names,
    )


def _learn(  # noqa: PLR0913  # what is trained, and how
    tasks: Sequence[FewShotTask],
    training: Training,
    stops: Sequence[int],
    *,
    views: int,
    device: str,
    report: Report,
) -> tuple[dict[int, Float[Tensor, "g c d"]], Float[Tensor, "e g"]]:
    """Train a head for each task.

    Returns:
        The heads after each number of epochs in `stops`, and their losses, on the CPU.
    """
    data = StackedTasks.of(tasks, views=views, device=device)
    prompts = float_tensor(np.stack([task.prompt_features for task in tasks])).to(device)
    prompts = torch.nn.functional.normalize(prompts, dim=-1)
    weights = data.prototypes.clone().requires_grad_()
    heads: dict[int, Float[Tensor, "g c d"]] = {}
    generators = [torch.Generator().manual_seed(seed) for seed in data.seeds]
    models, n_prompts = torch.arange(len(weights))[:, None], prompts.shape[2]

    def losses(rows: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
        images, labels = data.batch(rows)
        drawn = [
            torch.randint(n_prompts, rows.shape[1:], generator=generator)
            for generator in generators
        ]
        texts = prompts[models.to(labels.device), labels, torch.stack(drawn).to(labels.device)]
        samples = torch.cat([images, texts], dim=1)
        scores = data.logit_scale * samples @ weights.transpose(1, 2)
        return mean_losses(scores, labels.repeat(1, 2))

    def keep(epoch: int) -> None:
        if epoch in stops:
            heads[epoch] = weights.detach().cpu().clone()

    curves = train_stacked(
        [weights], losses, training, sets=data, progress=report, after_epoch=keep
    )
    return heads, curves.cpu()
