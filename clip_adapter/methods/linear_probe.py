"""Logistic regression on normalised features, the baseline of the CLIP paper."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.method import (
    Candidate,
    Classifier,
    Fitted,
    HeldOut,
    PerTaskMethod,
    SelectedOn,
)
from clip_adapter.methods.selection import (
    Selection,
    best_candidate,
    check_count,
    fold_rows,
    folds,
    merge_folds,
    nested_score,
    selected_on,
    validate,
    validation_parts,
)
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.thread_limit import one_blas_thread

COARSE_GRID = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
"""The first values of CLIP's search for C (Radford et al. 2021, appendix A.3)."""
DEFAULT = 10**2.5
"""C where nothing chooses: the middle, on a logarithmic scale, of what validation chose on real features
of six datasets."""
INVERSE = "inverse_regularization"
"""The name of C among the settings."""


@dataclass(frozen=True, kw_only=True)
class LinearProbe(PerTaskMethod):
    """L-BFGS logistic regression whose inverse regularisation C is searched.

    The search is CLIP's (Radford et al. 2021, https://arxiv.org/abs/2103.00020, appendix A.3):
    seven values from 1e-6 to 1e6, then `refinements` rounds that try both neighbours of the
    best value so far at half the previous distance in log space.

    Attributes:
        max_iterations: iterations of L-BFGS at most; 1000 in the paper.
        refinements: rounds of the refined search; 4 bring the step from 100x to about 1.33x.
        selection: the images that choose C: validation, held-out-shots or none, see `GridMethod`.

    Raises:
        SettingsError: a number is below its range.
    """

    name: ClassVar[str] = "linear-probe"

    max_iterations: int = 1000
    refinements: int = 4
    selection: Selection = "validation"

    def __post_init__(self) -> None:
        check_count("max_iterations", self.max_iterations, at_least=1)
        check_count("refinements", self.refinements)

    def needs_validation(self, task: FewShotTask) -> bool:  # noqa: ARG002  # the same for all
        """Whether validation images are to choose C."""
        return self.selection == "validation"

    def fit_task(self, task: FewShotTask) -> Fitted:
        """Search C coarsely, then around the best value so far; fit at the default where nothing chooses."""
        with one_blas_thread.active(), _without_warnings():
            chosen_on = selected_on(self.selection, task)
            if chosen_on == "nothing":
                classifier = self._fit(task, DEFAULT)
                return Fitted(classifier=classifier, settings={INVERSE: DEFAULT})
            return self._search(task, chosen_on)

    def _search(self, task: FewShotTask, chosen_on: SelectedOn) -> Fitted:
        on_validation = chosen_on == "validation"
        parts = [task] if on_validation else folds(task)
        # A fit has one BLAS thread, so that as many fits as there are cores run at once.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            tried = self._try(parts, COARSE_GRID, pool)
            step = 10.0  # half the distance of the coarse grid, in log space
            for _ in range(self.refinements):
                best = _best(tried).settings[INVERSE]
                tried += self._try(parts, (best / step, best * step), pool)
                step **= 0.5
        candidates = tuple(candidate for candidate, _ in tried)
        chosen, fitted = tried[best_candidate(candidates)]
        found = Fitted(
            classifier=fitted[0],
            settings=dict(chosen.settings),
            selected_on=chosen_on,
            candidates=candidates,
            nested=_nested(parts, [classifiers for _, classifiers in tried]),
        )
        if on_validation:
            return found
        return replace(
            found,
            classifier=self._fit(task, chosen.settings[INVERSE]),
            held_out=HeldOut.joined(
                list(map(HeldOut.of, fitted, parts)), fold_rows(task.train_labels)
            ),
        )

    def _try(
        self, parts: Sequence[FewShotTask], values: Sequence[float], pool: ThreadPoolExecutor
    ) -> list[tuple[Candidate, list[Classifier]]]:
        """For each value of C, its results on all parts, and the classifier of each."""
        fits = [[pool.submit(self._fit, part, value) for part in parts] for value in values]
        return [
            _with_results(parts, value, [fit.result() for fit in of_value])
            for value, of_value in zip(values, fits, strict=True)
        ]

    def _fit(self, task: FewShotTask, value: float) -> Classifier:
        """The classifier of the training images at a value of C."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=value, max_iter=self.max_iterations)
        model.fit(_directions(task.train_features), task.train_labels)
        return _as_multinomial(model.coef_, model.intercept_, task.class_names)


@contextmanager
def _without_warnings() -> Iterator[None]:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # At a large C the separable few-shot problem has no finite optimum: L-BFGS stops at
        # its limit, and validation evaluates where it stopped.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # With one image a class the labels look like measurements; they are classes.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


def _with_results(
    parts: Sequence[FewShotTask], value: float, fitted: list[Classifier]
) -> tuple[Candidate, list[Classifier]]:
    results = [
        [validate(classifier, part, **{INVERSE: value})]
        for classifier, part in zip(fitted, parts, strict=True)
    ]
    (candidate,) = merge_folds(results, [len(part.val_labels) for part in parts])
    return candidate, fitted


def _nested(
    parts: Sequence[FewShotTask], fitted: Sequence[Sequence[Classifier]]
) -> Candidate | None:
    """The score of the choice, over folds or over parts of the validation images of one task."""
    if len(parts) == 1:
        (task,) = parts
        rows = validation_parts(task.val_labels)
        fitted = [list(classifiers) * len(rows) for classifiers in fitted]
        parts = [
            replace(task, val_features=task.val_features[some], val_labels=task.val_labels[some])
            for some in rows
        ]
    results = [
        [validate(classifiers[number], part) for classifiers in fitted]
        for number, part in enumerate(parts)
    ]
    return nested_score(results, [len(part.val_labels) for part in parts])


def _best(tried: Sequence[tuple[Candidate, list[Classifier]]]) -> Candidate:
    candidates = [candidate for candidate, _ in tried]
    return candidates[best_candidate(candidates)]


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
