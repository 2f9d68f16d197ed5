"""Logistic regression on normalised features, the baseline of the CLIP paper."""

import time
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.linear_probe import LinearProbe
from clip_adapter.methods.method import Candidate, Fitted, Progress, best_candidate, judge
from clip_adapter.methods.task import FewShotTask, require_validation

COARSE_GRID = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
"""Where CLIP's search for C starts (Radford et al. 2021, appendix A.3)."""


def fit(
    method: LinearProbe, tasks: Sequence[FewShotTask], *, progress: Progress | None
) -> list[Fitted]:
    """What `LinearProbe.fit` promises."""
    require_validation(tasks)
    fitted = []
    for task in tasks:
        fitted.append(_fit(method, task))
        if progress is not None:
            progress(1 / len(tasks))
    return fitted


def _fit(method: LinearProbe, task: FewShotTask) -> Fitted:
    start = time.perf_counter()
    tried = [_try(method, task, value) for value in COARSE_GRID]
    step = 10.0  # half the distance of the coarse grid, in log space
    for _ in range(method.refinements):
        best = _value(tried[best_candidate([candidate for candidate, _ in tried])][0])
        tried += [_try(method, task, value) for value in (best / step, best * step)]
        step **= 0.5
    candidates = tuple(candidate for candidate, _ in tried)
    chosen, classifier = tried[best_candidate(candidates)]
    return Fitted(
        classifier=classifier,
        settings=dict(chosen.settings),
        selected_on="validation",
        candidates=candidates,
        seconds=time.perf_counter() - start,
    )


def _try(
    method: LinearProbe, task: FewShotTask, value: float
) -> tuple[Candidate, LinearClassifier]:
    model = LogisticRegression(C=value, max_iter=method.max_iterations)
    with warnings.catch_warnings():
        # At a large C the separable few-shot problem has no finite optimum: L-BFGS stops at
        # its limit, and validation judges where it stopped.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # With one image a class the labels look like measurements; they are classes.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        model.fit(_directions(task.train_features), task.train_labels)
    classifier = _as_multinomial(model, task.class_names)
    return judge(classifier, task, inverse_regularization=value), classifier


def _value(candidate: Candidate) -> float:
    return candidate.settings["inverse_regularization"]


def _as_multinomial(model: LogisticRegression, class_names: tuple[str, ...]) -> LinearClassifier:
    weight = model.coef_.astype(np.float32)
    bias = model.intercept_.astype(np.float32)
    if len(weight) == 1:  # two classes: scikit-learn keeps only the log-odds of the second
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return LinearClassifier(weight=weight, bias=bias, class_names=class_names)


def _directions(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    wide = features.astype(np.float32, copy=False)  # half floats would round the norm
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    directions: Float[np.ndarray, "n d"] = wide / np.maximum(norms, np.finfo(np.float32).tiny)
    return directions
