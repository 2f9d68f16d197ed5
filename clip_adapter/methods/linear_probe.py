"""Logistic regression on normalised features, the baseline of the CLIP paper."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.methods.method import Candidate, Classifier, Fitted, PerTaskMethod
from clip_adapter.methods.selection import best_candidate, check_count, validate
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.thread_limit import one_blas_thread

COARSE_GRID = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
"""The first values of CLIP's search for C (Radford et al. 2021, appendix A.3)."""


@dataclass(frozen=True, kw_only=True)
class LinearProbe(PerTaskMethod):
    """L-BFGS logistic regression whose inverse regularisation C is searched on validation.

    The search is CLIP's (Radford et al. 2021, https://arxiv.org/abs/2103.00020, appendix A.3):
    seven values from 1e-6 to 1e6, then `refinements` rounds that try both neighbours of the
    best value so far at half the previous distance in log space.

    Attributes:
        max_iterations: iterations of L-BFGS at most; 1000 in the paper.
        refinements: rounds of the refined search; 4 bring the step from 100x to about 1.33x.

    Raises:
        SettingsError: a number is below its range.
    """

    name: ClassVar[str] = "linear-probe"

    max_iterations: int = 1000
    refinements: int = 4

    def __post_init__(self) -> None:
        check_count("max_iterations", self.max_iterations, at_least=1)
        check_count("refinements", self.refinements)

    @property
    def n_candidates(self) -> int:
        """Number of values of C that are tried."""
        return len(COARSE_GRID) + 2 * self.refinements

    def fit_task(self, task: FewShotTask) -> Fitted:
        """Search C on validation, coarsely and then around the best value so far."""
        with one_blas_thread.active():
            return self._search(task)

    def _search(self, task: FewShotTask) -> Fitted:
        tried = [self._try(task, value) for value in COARSE_GRID]
        step = 10.0  # half the distance of the coarse grid, in log space
        for _ in range(self.refinements):
            best = _value(tried[best_candidate([candidate for candidate, _ in tried])][0])
            tried += [self._try(task, value) for value in (best / step, best * step)]
            step **= 0.5
        candidates = tuple(candidate for candidate, _ in tried)
        chosen, classifier = tried[best_candidate(candidates)]
        return Fitted(
            classifier=classifier,
            settings=dict(chosen.settings),
            selected_on="validation",
            candidates=candidates,
        )

    def _try(self, task: FewShotTask, value: float) -> tuple[Candidate, Classifier]:
        weight, bias = self._fit(_directions(task.train_features), task.train_labels, value)
        classifier = _as_multinomial(weight, bias, task.class_names)
        return validate(classifier, task, inverse_regularization=value), classifier

    def _fit(
        self, directions: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], value: float
    ) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
        """Weight and bias at a value of C, one row a class; two classes have one row."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=value, max_iter=self.max_iterations)
        with warnings.catch_warnings():
            # At a large C the separable few-shot problem has no finite optimum: L-BFGS stops at
            # its limit, and validation evaluates where it stopped.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # With one image a class the labels look like measurements; they are classes.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model.fit(directions, labels)
        return model.coef_, model.intercept_


def _value(candidate: Candidate) -> float:
    return candidate.settings["inverse_regularization"]


def _as_multinomial(
    weight: Float[np.ndarray, "k d"], bias: Float[np.ndarray, " k"], class_names: tuple[str, ...]
) -> Classifier:
    from clip_adapter.methods.classifiers import LinearClassifier

    weight, bias = weight.astype(np.float32), bias.astype(np.float32)
    if len(weight) == 1:  # two classes: scikit-learn keeps only the log-odds of the second
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return LinearClassifier(weight=weight, bias=bias, class_names=class_names)


def _directions(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    wide = features.astype(np.float32, copy=False)  # half floats would round the norm
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    directions: Float[np.ndarray, "n d"] = wide / np.maximum(norms, np.finfo(np.float32).tiny)
    return directions
