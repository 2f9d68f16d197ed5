"""Fitting of Tip-Adapter and Tip-Adapter-F: caches, their search, and the training of their keys."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import CacheClassifier
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.grid_method import Point, Report, Trial, stop_epochs
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor
from clip_adapter.training import Training, mean_losses, train_stacked


def cache_keys(task: FewShotTask, views: int) -> Float[np.ndarray, "n d"]:
    """The direction of each image, or the mean direction of its views, of length 1."""
    rows = torch.nn.functional.normalize(float_tensor(task.training_rows(views)), dim=-1)
    means = rows.view(-1, *task.train_features.shape).mean(dim=0)
    return torch.nn.functional.normalize(means, dim=-1).numpy()


def filled_cache(task: FewShotTask, keys: Float[np.ndarray, "n d"]) -> CacheClassifier:
    """A cache of the task's labels with those keys, of weight 0."""
    return CacheClassifier(
        keys=keys,
        labels=task.train_labels.astype(np.int64),
        alpha=0.0,
        beta=0.0,
        class_prototypes=task.class_prototypes,
        logit_scale=task.logit_scale,
        class_names=task.class_names,
    )


def weighted(cache: CacheClassifier, point: Point) -> CacheClassifier:
    """The cache with the alpha and beta of a point."""
    return replace(cache, alpha=point["alpha"], beta=point["beta"])


def logits_of_caches(
    fitted: Sequence[Fitted], features: Float[np.ndarray, "m d"]
) -> Iterator[Float[np.ndarray, "m c"]]:
    """The logits of each cache; neighbours that differ in alpha alone share everything else."""
    caches = [cast("CacheClassifier", one.classifier) for one in fitted]
    for _, same_keys in groupby(caches, key=lambda cache: id(cache.keys)):
        some = list(same_keys)
        of_text, cosines = some[0].parts(features)
        for _, group in groupby(some, key=_all_but_alpha):
            of_cache: Float[Tensor, "m c"] | None = None
            for cache in group:
                of_cache = cache.of_cache(cosines) if of_cache is None else of_cache
                yield (of_text + cache.alpha * of_cache).numpy()


def _all_but_alpha(cache: CacheClassifier) -> tuple[float, int]:
    """Equal for caches of equal keys that differ in alpha alone."""
    return cache.beta, id(getattr(cache, "image_weights", None))


def train_keys(  # noqa: PLR0913  # the settings, each by its name
    trials: Sequence[Trial],
    training: Training,
    *,
    alpha: float,
    beta: float,
    views: int,
    device: str,
    report: Report,
) -> tuple[dict[int, Float[np.ndarray, "t n d"]], list[list[float]]]:
    """Train the keys of all tasks at one alpha and beta.

    Returns:
        The keys after each number of epochs at which some point stops, and the losses of each task.
    """
    tasks, stops = [trial.task for trial in trials], stop_epochs(trials, training)
    trained: dict[int, Float[np.ndarray, "t n d"]] = {}
    data = StackedTasks.of(tasks, views=views, device=device)
    keys = float_tensor(np.stack([cache_keys(task, views) for task in tasks])).to(device)
    values = torch.nn.functional.one_hot(data.labels, data.prototypes.shape[1]).to(keys.dtype)
    keys.requires_grad_()

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " t"]:
        images, labels = data.batch(rows)
        cosines = images @ keys.transpose(1, 2)
        of_cache = torch.exp(-beta * (1 - cosines)) @ values
        of_text = data.logit_scale * images @ data.prototypes.transpose(1, 2)
        return mean_losses(of_text + alpha * of_cache, labels)

    def keep(epoch: int) -> None:
        if epoch in stops:
            trained[epoch] = keys.detach().cpu().numpy().copy()

    until = replace(training, stopped_epoch=max(stops))
    curves = train_stacked([keys], losses, until, sets=data, progress=report, after_epoch=keep)
    return trained, curves.cpu().T.tolist()
