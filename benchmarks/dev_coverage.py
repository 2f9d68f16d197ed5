"""How often prediction sets have the true class, on the development sets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax
from scipy.stats import betabinom, binom, norm

from benchmarks.dev_data import DevSet
from clip_adapter.methods import Auto, FewShotTask, Fitted
from clip_adapter.methods.conformal import Calibration, allowed_errors, calibration_of
from clip_adapter.training import fit_temperature

COVERAGE = 0.9
SHOTS = 4
RESPLITS = 200
UNKNOWN = 10
"""One class in so many is left out of the training, to see how often its images get no class."""
LEVEL = 0.99


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Images that a classifier was neither fitted to nor chosen by, and what it says of them."""

    probabilities: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    prototypes: np.ndarray

    def calibrated(self, rows: np.ndarray) -> Calibration:
        """The calibration on some of the images."""
        return Calibration.of(
            self.probabilities[rows],
            self.labels[rows],
            features=self.features[rows],
            class_prototypes=self.prototypes,
            images="validation",
        )

    def sets(self, rows: np.ndarray, calibration: Calibration) -> np.ndarray:
        """The prediction sets of some of the images."""
        return calibration.sets(self.probabilities[rows], self.features[rows], coverage=COVERAGE)

    def covered(self, rows: np.ndarray, sets: np.ndarray) -> np.ndarray:
        """Whether the set of each of some images has its true class."""
        found: np.ndarray = sets[np.arange(len(rows)), self.labels[rows]]
        return found


def coverage_lines(found: Sequence[DevSet], *, n_resplits: int = RESPLITS) -> Iterator[str]:
    """Coverage over random halves of the images to select and to judge by, and of what a run calibrates on."""
    yield ""
    yield (
        f"prediction sets of auto at {SHOTS} shots and a coverage of {COVERAGE:.0%}: {n_resplits} random splits of the "
        "images to select and to judge by into as many to calibrate and to cover; how many lie in the 99 % "
        "band of their beta-binomial distribution"
    )
    for dev_set in found:
        yield _resplit(dev_set, n_resplits)
    yield "coverage of other images by what a run calibrates on, and images of classes that were left out"
    for dev_set in found:
        yield f"{dev_set.name:15} {_of_runs(dev_set)}, {_unknown(dev_set)}"


def _resplit(dev_set: DevSet, n_resplits: int) -> str:
    scored = _scored(dev_set, dev_set.task(SHOTS, 1))
    n, n_all = len(dev_set.arrays["val_labels"]), len(scored.labels)
    n_judged, n_errors = n_all - n, allowed_errors(n, 1 - COVERAGE)
    # Of an image drawn with n others, P(covered) has the distribution Beta(n + 1 - l, l), with l errors.
    exact = betabinom(n_judged, n + 1 - n_errors, n_errors)
    low, high = exact.ppf((1 - LEVEL) / 2), exact.ppf((1 + LEVEL) / 2)
    random = np.random.default_rng(0)
    counts, sizes, n_empty = [], [], 0
    for _ in range(n_resplits):
        order = random.permutation(n_all)
        sets = scored.sets(order[n:], scored.calibrated(order[:n]))
        counts.append(int(scored.covered(order[n:], sets).sum()))
        sizes.append(sets.sum(axis=1).mean())
        n_empty += int((~sets.any(axis=1)).sum())
    n_inside = sum(low <= count <= high for count in counts)
    half = norm.ppf((1 + LEVEL) / 2) * exact.std() / n_resplits**0.5
    is_met = abs(np.mean(counts) - exact.mean()) <= half and (
        n_inside >= binom.ppf(1 - LEVEL, n_resplits, LEVEL)
    )
    return (
        f"{dev_set.name:15} {n:>4} images calibrate, {n_inside} of {n_resplits} in {low / n_judged:.1%} to "
        f"{high / n_judged:.1%}; mean {np.mean(counts) / n_judged:.2%}, expected {exact.mean() / n_judged:.2%} +- "
        f"{half / n_judged:.2%}; {np.mean(sizes):.2f} classes a set, {n_empty / n_judged / n_resplits:.1%} none"
        f"{'' if is_met else ' !'}"
    )


def _of_runs(dev_set: DevSet) -> str:
    """Coverage of the judged images by held-out shots, and by validation images that chose as well."""
    task = dev_set.task(SHOTS, 1)
    features, labels = dev_set.judged
    parts = []
    for words, each in (
        ("held-out shots", _without_validation(task)),
        ("validation images that chose", task),
    ):
        fitted, temperature = _fitted(each)
        calibration = calibration_of(fitted, each, temperature=temperature)
        if calibration is None:
            raise SystemExit(f"{dev_set.name} has no {words}: expected {SHOTS} shots a class")
        probabilities = _probabilities(fitted, features, temperature)
        sets = calibration.sets(probabilities, features, coverage=COVERAGE)
        covered = sets[np.arange(len(labels)), labels].mean()
        parts.append(f"{words} {covered:.1%} with {sets.sum(axis=1).mean():.2f} classes")
    return ", ".join(parts)


def _unknown(dev_set: DevSet) -> str:
    """How often images of known and of unknown classes get an empty set."""
    task = dev_set.task(SHOTS, 1)
    n_classes = len(task.class_names)
    known = np.arange(n_classes)[np.arange(n_classes) % UNKNOWN > 0]
    renumbered = np.full(n_classes, -1)
    renumbered[known] = np.arange(len(known))
    train: np.ndarray = np.isin(task.train_labels, known)
    val: np.ndarray = np.isin(task.val_labels, known)
    reduced = replace(
        task,
        train_features=task.train_features[train],
        train_labels=renumbered[task.train_labels[train]],
        val_features=task.val_features[val],
        val_labels=renumbered[task.val_labels[val]],
        prompt_features=task.prompt_features[known],
        class_names=tuple(task.class_names[label] for label in known),
    )
    fitted, temperature = _fitted(_without_validation(reduced))
    calibration = calibration_of(fitted, reduced, temperature=temperature)
    if calibration is None:
        raise SystemExit(f"{dev_set.name} has no validation images: expected some")
    features, labels = dev_set.judged
    probabilities = _probabilities(fitted, features, temperature)
    sets = calibration.sets(probabilities, features, coverage=COVERAGE)
    is_empty = sets.sum(axis=1) == 0
    is_known: np.ndarray = np.isin(labels, known)
    return (
        f"of {n_classes - len(known)} classes left out {is_empty[~is_known].mean():.1%} get none, of the others "
        f"{is_empty[is_known].mean():.1%}"
    )


def _scored(dev_set: DevSet, task: FewShotTask) -> Scored:
    """The images to select and to judge by, by a blend that held-out shots alone have chosen."""
    fitted, temperature = _fitted(_without_validation(task))
    features, labels = dev_set.judged
    features = np.concatenate([task.val_features, features])
    return Scored(
        probabilities=_probabilities(fitted, features, temperature),
        features=features,
        labels=np.concatenate([task.val_labels, labels]),
        prototypes=task.class_prototypes,
    )


def _fitted(task: FewShotTask) -> tuple[Fitted, float]:
    """The blend of a task, and the temperature from its validation images, else from its held-out shots."""
    (fitted,) = Auto().fit([task])
    if len(task.val_labels):
        scores, labels = fitted.classifier.logits(task.val_features), task.val_labels
    elif fitted.held_out is not None:
        scores, labels = fitted.held_out.logits, fitted.held_out.labels
    else:
        return fitted, 1.0
    return fitted, fit_temperature(scores, labels)


def _probabilities(fitted: Fitted, features: np.ndarray, temperature: float) -> np.ndarray:
    logits = fitted.classifier.logits(features).astype(np.float64)
    found: np.ndarray = softmax(logits / temperature, axis=1).astype(np.float32)
    return found


def _without_validation(task: FewShotTask) -> FewShotTask:
    return replace(task, val_features=task.val_features[:0], val_labels=task.val_labels[:0])
