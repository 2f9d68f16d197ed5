"""Two searches for C of the linear probe, each for a process of its own."""

import time
import warnings
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.few_shot import LOGIT_SCALE, random_images
from clip_adapter.methods import FewShotTask, LinearProbe
from clip_adapter.training import evaluate, nll

WIDTH = 512
VALIDATION_SHOTS = 4


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The outcome of a search.

    Attributes:
        seconds: of the clock.
        cpu_seconds: of all threads.
        value: chosen C.
        accuracy: on the validation images that chose.
    """

    seconds: float
    cpu_seconds: float
    value: float
    accuracy: float


def search_now(seed: int, *, classes: int, shots: int) -> Searched:
    """The method as it is."""
    task = probe_task(seed, classes=classes, shots=shots)
    clock, cpu = time.perf_counter(), time.process_time()
    (fitted,) = LinearProbe().fit([task])
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    return Searched(
        seconds=clock,
        cpu_seconds=cpu,
        value=float(fitted.settings["inverse_regularization"]),
        accuracy=max(each.validation_accuracy for each in fitted.candidates),
    )


def search_with_sklearn(seed: int, *, classes: int, shots: int) -> Searched:
    """scikit-learn as it comes: as many BLAS threads as cores, all dimensions, fits one by one."""
    task = probe_task(seed, classes=classes, shots=shots)
    clock, cpu = time.perf_counter(), time.process_time()
    tried = [_fit(task, value) for value in (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)]
    step = 10.0
    for _ in range(4):
        best = min(tried, key=itemgetter(0, 1))[2]
        tried += [_fit(task, value) for value in (best / step, best * step)]
        step **= 0.5
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    missed, _, chosen = min(tried, key=itemgetter(0, 1))
    return Searched(seconds=clock, cpu_seconds=cpu, value=chosen, accuracy=-missed)


def probe_task(seed: int, *, classes: int, shots: int) -> FewShotTask:
    """Random images, and four others a class for validation."""
    images = random_images(seed, width=WIDTH, classes=classes, images=shots * classes)
    others = random_images(
        seed + 1000, width=WIDTH, classes=classes, images=VALIDATION_SHOTS * classes
    )
    return FewShotTask(
        train_features=images.features.numpy(),
        train_labels=images.labels.numpy().astype(np.int64),
        val_features=others.features.numpy(),
        val_labels=others.labels.numpy().astype(np.int64),
        prompt_features=images.prototypes.numpy()[:, None],
        logit_scale=LOGIT_SCALE,
        class_names=tuple(f"class {number}" for number in range(classes)),
        shots=shots,
        seed=seed,
    )


def _fit(task: FewShotTask, value: float) -> tuple[float, float, float]:
    """Minus the validation accuracy, the negative log-likelihood, and C."""
    model = LogisticRegression(C=value, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that reach the limit of iterations
        model.fit(_directions(task.train_features), task.train_labels)
    scores = model.decision_function(_directions(task.val_features))
    accuracy = evaluate(scores, task.val_labels)["accuracy"]
    return -accuracy, nll(scores, task.val_labels), value


def _directions(features: np.ndarray) -> np.ndarray:
    directions: np.ndarray = features / np.linalg.norm(features, axis=1, keepdims=True)
    return directions
