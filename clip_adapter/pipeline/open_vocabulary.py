"""Classes that a classifier was not trained on: held out, added by name, and evaluated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.datasets import DatasetError, FewShotSplit, ImageSource
from clip_adapter.methods import Classifier, SavedClassifier, class_prototypes
from clip_adapter.methods.extended_classifier import extend_classifier
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.runs import BASE_TO_NEW, harmonic_mean

FEWEST_CLASSES = 3
"""Smallest number of classes: two to train on, and one to add."""


def count_base_classes(dataset: IndexedDataset | ImageSource) -> int:
    """The number of base classes: the first half of the classes in the order of their numbers, rounded up.

    The authors of CoOp divide so (Zhou et al. 2022, https://arxiv.org/abs/2203.05557, section 4.1;
    `subsample_classes` of their code).

    Raises:
        DatasetError: the dataset has fewer than three classes.
    """
    n_classes = len(dataset.class_names)
    if n_classes < FEWEST_CLASSES:
        raise DatasetError(
            f"dataset {dataset.name!r} has {n_classes} classes: expected {FEWEST_CLASSES} or more, half of "
            "which are trained and the others added by name"
        )
    return (n_classes + 1) // 2


def base_splits(
    splits: Sequence[FewShotSplit], labels: Int[np.ndarray, " n"], *, n_base: int
) -> list[FewShotSplit]:
    """Few-shot splits without the images of new classes.

    Images are sampled class by class, so that those of base classes do not depend on the new ones.

    Args:
        splits: few-shot splits of all classes.
        labels: class number of each row of the index.
        n_base: number of base classes.
    """

    def of_base(rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        chosen: Int[np.ndarray, " m"] = rows[labels[rows] < n_base]
        return chosen

    return [
        replace(split, train_rows=of_base(split.train_rows), val_rows=of_base(split.val_rows))
        for split in splits
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReorderedClassifier:
    """A classifier with its classes in another order.

    Attributes:
        classifier: the classifier.
        order: place of each class among those of the classifier.
    """

    classifier: Classifier
    order: tuple[int, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each column of the logits."""
        return tuple(self.classifier.class_names[place] for place in self.order)

    @property
    def width(self) -> int:
        """Width of the features that it classifies."""
        return self.classifier.width

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        ordered: Float[np.ndarray, "n c"] = self.classifier.logits(features)[:, list(self.order)]
        return ordered


def tested_classifier(
    classifier: Classifier,
    features: DatasetFeatures,
    *,
    classes: Sequence[int] | None,
    method: str,
) -> Classifier:
    """The classifier of all classes of the dataset: those that were not trained are added by name.

    Args:
        classifier: a classifier of the classes that were trained.
        features: features of the dataset, prompts of all classes included.
        classes: numbers of the classes that were trained, ascending; the classifier is returned as it is
            when None.
        method: name of the method that made it, for messages.

    Raises:
        DataError: the method has no class prototypes.
    """
    if classes is None:
        return classifier
    names = features.encoded.dataset.class_names
    others = sorted(set(range(len(names))) - set(classes))
    prototypes = class_prototypes(features.prompt_features[others])
    extended = extend_classifier(
        classifier, [names[label] for label in others], prototypes, method=method
    )
    labels = [*classes, *others]
    if labels == sorted(labels):
        return extended
    order = tuple(int(place) for place in np.argsort(labels))
    return ReorderedClassifier(classifier=extended, order=order)


def with_named_classes(
    saved: SavedClassifier,
    class_names: Sequence[str],
    *,
    encode_prompts: Callable[[list[str]], Float[np.ndarray, "n d"]],
) -> SavedClassifier:
    """A classifier with further classes, whose prompts are those of its file; see `with_classes`.

    Args:
        saved: a classifier with class prototypes.
        class_names: names of the classes to add.
        encode_prompts: returns the raw text features of prompts, by the classifier's own encoder; called
            once the names are checked.

    Raises:
        DataError: the classifier has no prototypes or no prompts, or a name cannot be added.
    """
    prompts = saved.prompts_of_new(class_names)
    features = encode_prompts([prompt for each in prompts for prompt in each])
    by_class = features.reshape(len(prompts), -1, features.shape[1])
    return saved.with_classes(class_names, class_prototypes(by_class))


def evaluate_base_and_new(
    scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], *, n_base: int
) -> dict[tuple[str, str], float]:
    """Compute accuracies on images of base classes and of new classes.

    Args:
        scores: logits of test images for all classes, base classes first.
        labels: class numbers of the images; some of base and some of new classes.
        n_base: number of base classes.

    Returns:
        The metrics of `BASE_TO_NEW`, by split and name.
    """
    is_base = labels < n_base
    base, new = scores[is_base], scores[~is_base]
    accuracies = {
        "base_accuracy": _accuracy(base[:, :n_base], labels[is_base]),
        "base_accuracy_among_all": _accuracy(base, labels[is_base]),
        "new_accuracy_among_all": _accuracy(new, labels[~is_base]),
        "new_accuracy": _accuracy(new[:, n_base:], labels[~is_base] - n_base),
    }
    accuracies["harmonic_mean_among_all"] = harmonic_mean(
        accuracies["base_accuracy_among_all"], accuracies["new_accuracy_among_all"]
    )
    return {BASE_TO_NEW[name]: value for name, value in accuracies.items()}


def _accuracy(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    return float((scores.argmax(axis=1) == labels).mean())
