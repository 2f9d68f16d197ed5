"""Blends of methods: each chooses its settings, and held-out shots weigh one against the other."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from clip_adapter.methods.clip_adapter import ClipAdapter
from clip_adapter.methods.gda import Gda
from clip_adapter.methods.grid_method import GridMethod
from clip_adapter.methods.method import (
    Candidate,
    Classifier,
    Fitted,
    HeldOut,
    Method,
    Progress,
    SelectedOn,
)
from clip_adapter.methods.proker import ProKeR
from clip_adapter.methods.ridge_to_text import RidgeToText
from clip_adapter.methods.selection import (
    MAX_FOLDS,
    Selection,
    check_count,
    check_grid,
    evaluate_candidate,
    fold_rows,
    folds,
    merge_folds,
    scored_parts,
    selected_on,
)
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.zero_shot import ZeroShot
from clip_adapter.shots import shots_in_words
from clip_adapter.training import TrainingSettings

SHRINKAGE = 3.0
"""On six sets 1 to 10 are equal; at 0 and at 100 the worst sets lose up to a point."""

MOST_KERNEL_IMAGES = 2_000
"""ProKeR's time grows with the cube of the images; with more images than these it is no part of a blend."""

FOLDS_BESIDE_VALIDATION = 2
"""Fewer folds where validation images are one more: as accurate, in four fifths of the time."""


@dataclass(frozen=True, kw_only=True)
class _BlendMethod(Method):
    """Zero-shot and other methods, blended by the images that were left out for the purpose.

    Attributes:
        selection: the images that choose the settings and the weights: "validation" for held-out shots and
            the validation images, "held-out-shots" for the former alone, "none" for stated defaults.
        shrinkage: strength of the pull towards equal weights, in images.
        views: augmented views of each training image; 0 for the image itself.
    """

    taken_without_choice: ClassVar[tuple[str, ...]]
    has_nested_score: ClassVar[bool] = True

    selection: Selection = "validation"
    shrinkage: float = SHRINKAGE
    views: int = 0

    def __post_init__(self) -> None:
        check_grid("shrinkage", (self.shrinkage,), at_least=0.0)
        check_count("views", self.views)

    def parts(self, task: FewShotTask) -> list[GridMethod]:
        """The methods that are blended with zero-shot, for tasks of one width and order of size."""
        raise NotImplementedError

    def evidence(self, task: FewShotTask) -> list[FewShotTask]:
        """The folds that choose: of held-out shots, and the task itself where validation images choose too.

        Empty where nothing can be chosen: at one shot without validation images.
        """
        if self.selection == "none":
            return []
        can_hold_out = selected_on("held-out-shots", task) == "held-out shots"
        found = folds(task, at_most=self._most_folds(task)) if can_hold_out else []
        return [*found, task] if self._has_validation(task) else found

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task, see `Method.fit`."""
        found: dict[int, Fitted] = {}
        in_folds = [self.evidence(task) for task in tasks]
        kinds = [
            (task.class_prototypes.shape[1], _is_large(task), bool(folds_of_task))
            for task, folds_of_task in zip(tasks, in_folds, strict=True)
        ]
        for kind in dict.fromkeys(kinds):
            *_, chooses = kind
            numbers = [number for number in range(len(tasks)) if kinds[number] == kind]
            some = [tasks[number] for number in numbers]
            methods = self.parts(some[0])
            share = len(numbers) / len(tasks) / len(methods)
            report = None if progress is None else _scaled(progress, share)
            if chooses:
                their_folds = [in_folds[number] for number in numbers]
                fitted = [
                    method.fit_on_folds(
                        some,
                        their_folds,
                        by_others=self.has_nested_score,
                        device=device,
                        progress=report,
                    )
                    for method in methods
                ]
                blends = [
                    self._blended(task, of_folds, methods, parts)
                    for task, of_folds, *parts in zip(some, their_folds, *fitted, strict=True)
                ]
            else:
                methods = [replace(method, selection="none") for method in methods]
                alone = [method.fit(some, device=device, progress=report) for method in methods]
                blends = [
                    self._by_default(task, methods, parts)
                    for task, *parts in zip(some, *alone, strict=True)
                ]
            found |= dict(zip(numbers, blends, strict=True))
        return [found[number] for number in range(len(tasks))]

    def _most_folds(self, task: FewShotTask) -> int:
        return FOLDS_BESIDE_VALIDATION if self._has_validation(task) else MAX_FOLDS

    def _has_validation(self, task: FewShotTask) -> bool:
        return self.selection == "validation" and len(task.val_labels) > 0

    def _blended(
        self,
        task: FewShotTask,
        in_folds: Sequence[FewShotTask],
        methods: Sequence[Method],
        parts: Sequence[tuple[Fitted, list[list[HeldOut]]]],
    ) -> Fitted:
        from clip_adapter.methods.classifiers import blend
        from clip_adapter.methods.fitting.blend import fit_blend

        start = time.perf_counter()
        zero_shot = ZeroShot().fit_task(task)
        names = [ZeroShot.name, *(method.name for method in methods)]
        fitted = [zero_shot, *(one for one, _ in parts)]
        by_text = [HeldOut.of(zero_shot.classifier, fold) for fold in in_folds]
        chosen, *of_others = (
            [by_text, *by_method] for by_method in zip(*(each for _, each in parts), strict=True)
        )
        scores = _scores(chosen)
        labels = np.concatenate([fold.val_labels for fold in in_folds])
        towards = (
            self._default_shares(names) if in_folds[0] is task else [1 / len(names)] * len(names)
        )
        found = fit_blend(scores, labels, towards=towards, shrinkage=self.shrinkage)
        nested = self._nested(
            list(map(_scores, of_others)), labels, scored_parts(task, in_folds), towards=towards
        )
        blended = blend(scores, found.weights)
        way: SelectedOn = "validation" if self._has_validation(task) else "held-out shots"
        accuracies = [evaluate_candidate(each, labels).validation_accuracy for each in scores]
        settings = _settings(names, fitted, found.shares) | {
            f"held_out_accuracy_{_word(name)}": accuracy
            for name, accuracy in zip(names, accuracies, strict=True)
        }
        candidate = evaluate_candidate(
            blended,
            labels,
            **{f"share_{_word(name)}": settings[f"share_{_word(name)}"] for name in names},
        )
        return Fitted(
            classifier=_classifier(fitted, found.weights),
            settings=self._own_settings() | settings,
            selected_on=way,
            candidates=(candidate,),
            nested=nested,
            seconds=sum(one.seconds for one in fitted) + time.perf_counter() - start,
            held_out=self._held_out(task, blended),
            explanation=_explanation(
                dict(zip(names, found.shares, strict=True)),
                dict(zip(names, accuracies, strict=True)),
                candidate,
                n_held_out=len(labels) - len(task.val_labels) * self._has_validation(task),
                n_validation=len(task.val_labels) * self._has_validation(task),
            ),
        )

    def _nested(
        self,
        by_part: Sequence[Sequence[np.ndarray]],
        labels: np.ndarray,
        parts: Sequence[np.ndarray],
        *,
        towards: Sequence[float],
    ) -> Candidate | None:
        """The score of the blend itself: all other images choose its settings and weights for each part."""
        from clip_adapter.methods.classifiers import blend
        from clip_adapter.methods.fitting.blend import fit_blend

        if not by_part:  # a single part has all images
            return None
        scored = []
        for scores, rows in zip(by_part, parts, strict=True):
            others = np.delete(np.arange(len(labels)), rows)
            found = fit_blend(
                [each[others] for each in scores],
                labels[others],
                towards=towards,
                shrinkage=self.shrinkage,
            )
            blended = blend([each[rows] for each in scores], found.weights)
            scored.append([evaluate_candidate(blended, labels[rows])])
        (nested,) = merge_folds(scored, list(map(len, parts)))
        return nested

    def _held_out(self, task: FewShotTask, blended: np.ndarray) -> HeldOut | None:
        """The logits of the training images that were left out; the validation images' come after them."""
        rows = fold_rows(task.train_labels, at_most=self._most_folds(task))
        n_rows = sum(map(len, rows))
        if len(self.evidence(task)) == int(self._has_validation(task)):
            return None
        return HeldOut(
            logits=blended[:n_rows],
            labels=task.train_labels[np.concatenate(rows)],
            rows=tuple(rows),
        )

    def _by_default(
        self, task: FewShotTask, methods: Sequence[Method], fitted: Sequence[Fitted]
    ) -> Fitted:
        names = [ZeroShot.name, *(method.name for method in methods)]
        shares = self._default_shares(names)
        taken = [name for name, share in zip(names, shares, strict=True) if share]
        everything = [ZeroShot().fit_task(task), *fitted]
        reason = (
            "nothing is chosen, as asked for"
            if self.selection == "none"
            else f"at {shots_in_words(task.shots)} a class no image can be held out"
        )
        return Fitted(
            classifier=_classifier(everything, shares),
            settings=self._own_settings() | _settings(names, everything, shares),
            seconds=sum(one.seconds for one in fitted),
            explanation=f"the mean of the logits of {' and '.join(taken)} with their defaults, as {reason}",
        )

    def _default_shares(self, names: Sequence[str]) -> list[float]:
        is_taken = [name in self.taken_without_choice for name in names]
        return [float(each) / sum(is_taken) for each in is_taken]

    def _own_settings(self) -> dict[str, Any]:
        return {"shrinkage": self.shrinkage, "views": self.views}


@dataclass(frozen=True, kw_only=True)
class Auto(_BlendMethod):
    """The method to take: a blend of zero-shot, ridge to text, ProKeR, GDA and a fast CLIP-Adapter.

    `sum_m v_m b_m z_m` with the logits z of each method, which chooses its own settings first. Factors b and
    weights v come from the same held-out images, see `fit_blend`; they are shrunk towards equal
    weights. Where nothing can be held out, as at one shot, it is the mean of CLIP-Adapter, ridge to text and
    ProKeR with their defaults. ProKeR has no part with more than 2,000 training images.

    Attributes:
        selection: the images that choose the settings and the weights: "validation" for held-out shots and
            the validation images, "held-out-shots" for the former alone, "none" for stated defaults.
        shrinkage: strength of the pull towards equal weights, in images.
        views: augmented views of each training image; 0 for the image itself.

    Raises:
        SettingsError: a number is outside its range.
    """

    name: ClassVar[str] = "auto"
    has_nested_score: ClassVar[bool] = False  # it is the challenger wherever it was trained
    taken_without_choice: ClassVar[tuple[str, ...]] = ("ridge-to-text", "proker", "clip-adapter")

    def parts(self, task: FewShotTask) -> list[GridMethod]:
        """Ridge to text, ProKeR up to `MOST_KERNEL_IMAGES`, GDA and CLIP-Adapter."""
        return [
            RidgeToText(views=self.views),
            *([] if _is_large(task) else [ProKeR(views=self.views)]),
            Gda(views=self.views),
            _adapter(task, self.views),
        ]


@dataclass(frozen=True, kw_only=True)
class ClipAdapterGda(_BlendMethod):
    """A fast CLIP-Adapter with image-side evidence: the logits of GDA are added to its own.

    The weights are those of `Auto`, of zero-shot, CLIP-Adapter and GDA alone.

    Attributes:
        selection: the images that choose the settings and the weights: "validation" for held-out shots and
            the validation images, "held-out-shots" for the former alone, "none" for stated defaults.
        shrinkage: strength of the pull towards equal weights, in images.
        views: augmented views of each training image; 0 for the image itself.

    Raises:
        SettingsError: a number is outside its range.
    """

    name: ClassVar[str] = "clip-adapter+gda"
    taken_without_choice: ClassVar[tuple[str, ...]] = ("clip-adapter", "gda")

    def parts(self, task: FewShotTask) -> list[GridMethod]:
        """CLIP-Adapter and GDA."""
        return [_adapter(task, self.views), Gda(views=self.views)]


def _is_large(task: FewShotTask) -> bool:
    return len(task.train_labels) > MOST_KERNEL_IMAGES


def _adapter(task: FewShotTask, views: int) -> ClipAdapter:
    """A fast CLIP-Adapter with a hidden unit at least, however narrow the features are."""
    width = task.class_prototypes.shape[1]
    return ClipAdapter(
        views=views, reduction=min(4, width), training=TrainingSettings(recipe="fast")
    )


def _classifier(fitted: Sequence[Fitted], weights: Sequence[float]) -> Classifier:
    """The blend of the classifiers whose weight is not 0."""
    from clip_adapter.methods.classifiers import BlendedClassifier

    used = [
        (one.classifier, weight) for one, weight in zip(fitted, weights, strict=True) if weight > 0
    ]
    return BlendedClassifier(
        parts=tuple(classifier for classifier, _ in used),
        weights=tuple(float(weight) for _, weight in used),
    )


def _scores(by_method: Sequence[Sequence[HeldOut]]) -> list[np.ndarray]:
    """The logits of each method for the images of all folds."""
    return [np.concatenate([fold.logits for fold in each]) for each in by_method]


def _settings(
    names: Sequence[str], fitted: Sequence[Fitted], shares: Sequence[float]
) -> dict[str, Any]:
    """The share of each part, and what it chose, by the name of the part."""
    settings: dict[str, Any] = {}
    for name, one, share in zip(names, fitted, shares, strict=True):
        settings[f"share_{_word(name)}"] = round(
            float(share), 2
        )  # the weights are in the classifier
        if name != ZeroShot.name:
            settings |= {f"{_word(name)}_{key}": value for key, value in one.settings.items()}
    return settings


def _word(name: str) -> str:
    return name.replace("-", "_").replace("+", "_plus")


def _explanation(
    shares: Mapping[str, float],
    accuracies: Mapping[str, float],
    blend: Candidate,
    *,
    n_held_out: int,
    n_validation: int,
) -> str:
    counts = {"held-out shots": n_held_out, "validation images": n_validation}
    images = " and ".join(f"{n:,} {words}" for words, n in counts.items() if n)
    ranked = sorted(shares, key=lambda name: -shares[name])
    blended = ", ".join(f"{name} {shares[name]:.0%}" for name in ranked if shares[name] >= 0.005)
    best = max(accuracies, key=lambda name: accuracies[name])
    return (
        f"a blend of {blended}, which is right on {blend.validation_accuracy:.1%} of {images}, where "
        f"{best} is the best alone with {accuracies[best]:.1%} and zero-shot has "
        f"{accuracies[ZeroShot.name]:.1%}"
    )


def _scaled(progress: Progress, share: float) -> Progress:
    return lambda done: progress(share * done)
