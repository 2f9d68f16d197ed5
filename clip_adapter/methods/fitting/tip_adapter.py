"""Fitting of Tip-Adapter and Tip-Adapter-F: caches, their search, and the training of their keys."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.classifiers import CacheClassifier, class_affinities
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.methods.method import Candidate, Fitted, Report
from clip_adapter.methods.selection import ONLY, Choice, validate_logits
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


def best_cache(
    cache: CacheClassifier, task: FewShotTask, *, alphas: Sequence[float], betas: Sequence[float]
) -> Fitted:
    """The cache with the alpha and beta that are best on validation; a single pair is not evaluated."""
    # At alpha 0 every beta gives the same classifier: one of them is tried.
    pairs = [(a, b) for b, a in product(betas, alphas) if a > 0 or b == betas[0]]
    choice = ONLY if len(pairs) == 1 else Choice.among(_evaluated(cache, task, pairs))
    alpha, beta = pairs[choice.number]
    return Fitted(
        classifier=replace(cache, alpha=alpha, beta=beta),
        settings={"alpha": alpha, "beta": beta},
        selected_on=choice.selected_on,
        candidates=choice.candidates,
    )


def _evaluated(
    cache: CacheClassifier, task: FewShotTask, pairs: Sequence[tuple[float, float]]
) -> Iterator[Candidate]:
    """Evaluate each pair on validation, with one product of images and keys for all."""
    of_text, cosines = cache.parts(task.val_features)
    labels = torch.from_numpy(cache.labels)
    for beta, group in groupby(pairs, key=lambda pair: pair[1]):
        of_cache = class_affinities(cosines, labels, beta=beta, n_classes=of_text.shape[1])
        for alpha, _ in group:
            scores = (of_text + alpha * of_cache).numpy()
            yield validate_logits(scores, task, alpha=alpha, beta=beta)


def train_keys(  # noqa: PLR0913  # the settings, each by its name
    tasks: list[FewShotTask],
    training: Training,
    *,
    alpha: float,
    beta: float,
    views: int,
    device: str,
    report: Report,
) -> tuple[Float[np.ndarray, "t n d"], list[list[float]]]:
    """Train the keys of all tasks at one alpha and beta; returns them, and the losses of each task."""
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

    curves = train_stacked([keys], losses, training, sets=data, progress=report)
    return keys.detach().cpu().numpy(), curves.cpu().T.tolist()
