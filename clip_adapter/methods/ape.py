"""APE without training: a cache of weighted images that compares the channels that tell classes apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.errors import SettingsError
from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask

ALPHAS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
BETAS = (1.0, 3.0, 5.5, 9.0, 18.0)
GAMMAS = (0.0, 0.1, 0.2)
KEPT = (0.5, 0.8)
WEIGHT_OF_SIMILARITY = 0.7
"""The authors' weight of low similarity between classes; the rest weights high variance."""
MOST_FOLDS = 16
"""A cache takes no training, so that more folds than four cost little."""
TINY = 1e-6
"""The authors' guard against the logarithm of 0."""


@dataclass(frozen=True, kw_only=True)
class Ape(GridMethod):
    """Tip-Adapter over the channels that tell classes apart, with a weight for each image.

    `logit_scale * f . w_c + alpha * sum_i [y_i = c] r_i exp(-beta (1 - f~ . f~_i))`. The tilde keeps
    some channels, scaled to length 1, those of the highest `0.7 * -(similarity between classes) +
    0.3 * (variance between classes)`; `r_i = exp(gamma D_i)` with `D_i` the divergence in bits of the label
    of image i from the softmax of its cosines with the kept channels of the text (Zhu et al. 2023,
    https://arxiv.org/abs/2304.01195, sections 3.1 and 3.2, and the authors' program).

    Attributes:
        alphas: candidates for the weight of the cache.
        betas: candidates for the sharpness of the cache.
        gammas: candidates for how much more an image counts that the text gets wrong.
        kept: candidates for the fraction of the channels that are kept.
        views: augmented views of each image, whose mean direction is a key; 0 for the image itself.

    Raises:
        SettingsError: a grid is empty, a number below 0, or a fraction not above 0 and at most 1.
    """

    name: ClassVar[str] = "ape"
    most_folds: ClassVar[int] = MOST_FOLDS

    alphas: tuple[float, ...] = ALPHAS
    betas: tuple[float, ...] = BETAS
    gammas: tuple[float, ...] = GAMMAS
    kept: tuple[float, ...] = KEPT
    views: int = 0

    def __post_init__(self) -> None:
        for name in ("alphas", "betas", "gammas"):
            check_grid(name, getattr(self, name), at_least=0.0)
        if not self.kept or any(not 0 < fraction <= 1 for fraction in self.kept):
            raise SettingsError(
                f"kept is {self.kept}; expected one or more fractions above 0, at most 1"
            )
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Kept fractions, gammas, betas and alphas."""
        return {"kept": self.kept, "gamma": self.gammas, "beta": self.betas, "alpha": self.alphas}

    def defaults(self, task: FewShotTask) -> Point:  # noqa: ARG002  # the same for all
        """A sharp cache, as Tip-Adapter's default."""
        return {"kept": 0.8, "gamma": 0.1, "beta": 18.0, "alpha": 4.0}

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Fill the cache of each task."""
        from clip_adapter.methods.classifiers import WeightedCacheClassifier
        from clip_adapter.methods.fitting.tip_adapter import cache_keys

        for trial in trials:
            task = trial.task
            images = cache_keys(task, self.views).astype(np.float64)
            text = task.class_prototypes.astype(np.float64)
            scores = channel_scores(images, task.train_labels, text)
            caches: dict[float, tuple[WeightedCacheClassifier, np.ndarray]] = {}
            weights: dict[tuple[float, float], np.ndarray] = {}
            fitted = []
            for point in trial.points:
                kept, gamma = point["kept"], point["gamma"]
                if kept not in caches:
                    channels = best_channels(scores, kept)
                    keys, divergences = _keys(images, task.train_labels, text, channels)
                    caches[kept] = (
                        WeightedCacheClassifier(
                            keys=keys.astype(np.float32),
                            labels=task.train_labels.astype(np.int64),
                            alpha=0.0,
                            beta=0.0,
                            class_prototypes=task.class_prototypes,
                            logit_scale=task.logit_scale,
                            class_names=task.class_names,
                            image_weights=np.ones(len(keys), dtype=np.float32),
                            channels=channels.astype(np.float32),
                        ),
                        divergences,
                    )
                cache, divergences = caches[kept]
                if (kept, gamma) not in weights:
                    weights[kept, gamma] = np.exp(gamma * divergences).astype(np.float32)
                classifier = replace(
                    cache,
                    alpha=point["alpha"],
                    beta=point["beta"],
                    image_weights=weights[kept, gamma],
                )
                fitted.append(Fitted(classifier=classifier, settings={"views": self.views}))
            yield fitted
            report(1)

    def logits(
        self, fitted: Sequence[Fitted], features: Float[np.ndarray, "m d"]
    ) -> Iterator[Float[np.ndarray, "m c"]]:
        """The logits of one task's caches, with one product of images and keys for equal keys."""
        from clip_adapter.methods.fitting.tip_adapter import logits_of_caches

        return logits_of_caches(fitted, features)


def channel_scores(
    images: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], text: Float[np.ndarray, "c d"]
) -> Float[np.ndarray, " d"]:
    """How well each channel tells classes apart; the higher, the better.

    Args:
        images: features of length 1.
        labels: class numbers of the images.
        text: one prototype of length 1 a class, a sample of its class beside the images.
    """
    sums, sizes = text.copy(), 1 + np.bincount(labels, minlength=len(text))
    np.add.at(sums, labels, images)
    # Over all pairs of samples of two classes: all pairs without those of one class.
    products = sums.sum(axis=0) ** 2 - (sums**2).sum(axis=0)
    similarities = products / (sizes.sum() ** 2 - (sizes**2).sum())
    variances = text.var(axis=0, ddof=1)
    scores: Float[np.ndarray, " d"] = (
        1 - WEIGHT_OF_SIMILARITY
    ) * variances - WEIGHT_OF_SIMILARITY * similarities
    return scores


def best_channels(scores: Float[np.ndarray, " d"], kept: float) -> Float[np.ndarray, " d"]:
    """1 for that fraction of the channels, those of the highest scores, else 0."""
    mask = np.zeros(len(scores))
    mask[np.argsort(-scores, kind="stable")[: max(1, round(kept * len(scores)))]] = 1
    return mask


def _keys(
    images: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    text: Float[np.ndarray, "c d"],
    channels: Float[np.ndarray, " d"],
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """The images over some channels, and the divergence of their labels from what the text says."""
    keys, prototypes = _scaled(images * channels), _scaled(text * channels)
    exponentials = np.exp(keys @ prototypes.T)  # of cosines, without the logit scale
    of_label = exponentials[np.arange(len(labels)), labels] / exponentials.sum(axis=1)
    return keys, np.log2((1 + TINY) / (of_label + TINY))


def _scaled(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float[np.ndarray, "n d"] = rows / np.maximum(lengths, 1e-12)
    return scaled
