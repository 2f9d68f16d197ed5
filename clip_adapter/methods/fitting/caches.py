"""Caches of training images, and the search for how much and how sharply they count."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, product

import numpy as np
import torch
from jaxtyping import Float

from clip_adapter.methods.classifiers import CacheClassifier
from clip_adapter.methods.classifiers.cache import class_affinities
from clip_adapter.methods.method import Candidate, Fitted, judge_logits
from clip_adapter.methods.selection import ONLY, Choice
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor


def cache_keys(task: FewShotTask, views: int) -> Float[np.ndarray, "n d"]:
    """The direction of each image, or the mean direction of its views, of length 1."""
    rows = torch.nn.functional.normalize(float_tensor(task.training_rows(views)), dim=-1)
    means = rows.view(-1, *task.train_features.shape).mean(dim=0)
    return torch.nn.functional.normalize(means, dim=-1).numpy()


def filled_cache(task: FewShotTask, keys: Float[np.ndarray, "n d"]) -> CacheClassifier:
    """The task's labels under those keys, before anything says how much they count."""
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
    """The cache with the alpha and beta that do best on validation; a single pair unseen."""
    # At alpha 0 every beta gives the same classifier: one of them is tried.
    pairs = [(a, b) for b, a in product(betas, alphas) if a > 0 or b == betas[0]]
    choice = ONLY if len(pairs) == 1 else Choice.among(_tried(cache, task, pairs))
    alpha, beta = pairs[choice.number]
    return Fitted(
        classifier=replace(cache, alpha=alpha, beta=beta),
        settings={"alpha": alpha, "beta": beta},
        selected_on=choice.selected_on,
        candidates=choice.candidates,
    )


def _tried(
    cache: CacheClassifier, task: FewShotTask, pairs: Sequence[tuple[float, float]]
) -> Iterator[Candidate]:
    """How each pair does on validation, with one product of images and keys for all."""
    of_text, cosines = cache.parts(task.val_features)
    labels = torch.from_numpy(cache.labels)
    for beta, group in groupby(pairs, key=lambda pair: pair[1]):
        of_cache = class_affinities(cosines, labels, beta=beta, n_classes=of_text.shape[1])
        for alpha, _ in group:
            scores = (of_text + alpha * of_cache).numpy()
            yield judge_logits(scores, task, alpha=alpha, beta=beta)
