"""Classifiers with classes that were added by name after the training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from clip_adapter.errors import DataError
from clip_adapter.methods.classifier_metadata import is_unicode
from clip_adapter.methods.method import Classifier

LONGEST_NAME = 2_000
"""Largest number of characters of a class name."""
EXTENSIBLE = (
    "zero-shot",
    "clip-adapter",
    "coop",
    "task-res",
    "tip-adapter",
    "tip-adapter-f",
    "proker",
    "nearest-mean",
    "ss-text",
    "ss-text+",
    "clap",
    "ape",
)
"""Built-in methods whose classifiers have class prototypes."""
NOT_EXTENSIBLE = (
    "linear-probe",
    "gda",
    "lp++",
    "cross-modal-probe",
    "ridge-to-text",
    "clip-adapter+gda",
    "auto",
)
"""The other built-in methods, whose classifiers, or a part of them, know a class by its images alone."""
WITH_PROTOTYPES = (
    "PrototypeClassifier",
    "AdapterClassifier",
    "CacheClassifier",
    "WeightedCacheClassifier",
    "KernelClassifier",
)
"""Kinds of classifiers that have class prototypes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExtendedClassifier:
    """A fitted classifier, and beside it the text of classes that it was not trained on.

    The parts are computed one by one. Appended as rows to the prototypes, new classes would change
    the last bits of the other logits: a matrix product of another shape adds in another order.

    Attributes:
        parts: the fitted classifier, then one for the classes of each extension.
    """

    parts: tuple[Classifier, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each column of the logits, those of the fitted classifier first."""
        return tuple(name for part in self.parts for name in part.class_names)

    @property
    def width(self) -> int:
        """Width of the features that it classifies."""
        return self.parts[0].width

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        scores: Float[np.ndarray, "n c"] = np.concatenate(
            [part.logits(features) for part in self.parts], axis=1
        )
        return scores


def extend_classifier(
    classifier: Classifier,
    class_names: Sequence[str],
    prototypes: Float[np.ndarray, "c d"],
    *,
    method: str,
) -> ExtendedClassifier:
    """Add classes to a classifier by their text; the logits of the others stay, bit for bit.

    The logit of an added class is `logit_scale * cos(f, w)`, with f adapted as for the other classes
    and w the text feature of the class as the encoder gives it. The class has no part in what was
    learned for each class: no residual of TaskRes, no learned context of CoOp, no adapted
    prototype of CLIP-Adapter's text branch, of which a classifier keeps the results alone, and no image
    in Tip-Adapter's cache, which can only raise the logits of the others.

    Args:
        classifier: a classifier with class prototypes, extended before or not.
        class_names: names of the classes to add.
        prototypes: text feature of each class; only directions matter.
        method: name of the method that made the classifier, for messages.

    Raises:
        DataError: the classifier has no prototypes, a name cannot be added (see `check_new_classes`),
            or the prototypes are not one finite vector other than 0 of the classifier's width a name.
    """
    check_new_classes(classifier, class_names, method=method)
    _check_prototypes(prototypes, n_classes=len(class_names), width=classifier.width)
    parts = _parts(classifier)
    return ExtendedClassifier(
        parts=(*parts, _by_text(parts[0], tuple(class_names), prototypes.astype(np.float32)))
    )


def retarget_classifier(
    classifier: Classifier,
    class_names: Sequence[str],
    prototypes: Float[np.ndarray, "c d"],
    *,
    method: str,
) -> Classifier:
    """A classifier of other classes, by their text; what was learned of an image's feature stays.

    The logits are those that `extend_classifier` adds, whether or not the classifier has classes of the
    same names.

    Args:
        classifier: a classifier with class prototypes.
        class_names: names of the other classes.
        prototypes: text feature of each class; only directions matter.
        method: name of the method that made the classifier, for messages.

    Raises:
        DataError: the classifier has no prototypes, or those of the classes are not one finite vector
            other than 0 of the classifier's width a name.
    """
    _check_has_prototypes(classifier, method=method)
    _check_prototypes(prototypes, n_classes=len(class_names), width=classifier.width)
    return _by_text(fitted_part(classifier), tuple(class_names), prototypes.astype(np.float32))


def check_new_classes(classifier: Classifier, class_names: Sequence[str], *, method: str) -> None:
    """Return if classes of these names can be added to a classifier.

    Args:
        classifier: a classifier, extended before or not.
        class_names: names of the classes to add.
        method: name of the method that made the classifier, for messages.

    Raises:
        DataError: the classifier has no class prototypes; a name is empty, too long, given twice, or
            a class of the classifier already. Case and blanks do not tell names apart.
    """
    _check_has_prototypes(classifier, method=method)
    if not class_names:
        raise DataError("no class to add is named: expected one name or more")
    check_new_names(class_names, known=classifier.class_names)


def check_new_names(class_names: Sequence[str], *, known: Sequence[str]) -> None:
    """Return if classes of these names can stand beside others.

    Args:
        class_names: names of the classes to add.
        known: names of the other classes.

    Raises:
        DataError: a name is empty, too long, given twice, or known already. Case and blanks do not tell
            names apart.
    """
    by_folded = {_folded(name): name for name in known}
    for name in class_names:
        _check_name(name, by_folded)
        by_folded[_folded(name)] = name


def _check_has_prototypes(classifier: Classifier, *, method: str) -> None:
    kind = type(fitted_part(classifier)).__name__
    if kind not in WITH_PROTOTYPES:
        raise DataError(
            f"{method} has no class prototypes (its classifier is a {kind}), so that no class can be "
            f"added to it by name: expected a classifier of {', '.join(EXTENSIBLE[:-1])} or "
            f"{EXTENSIBLE[-1]}; train one of these"
        )


def fitted_part(classifier: Classifier) -> Classifier:
    """The classifier without classes that were added by name."""
    return _parts(classifier)[0]


def _check_name(name: str, known: dict[str, str]) -> None:
    if not isinstance(name, str) or not name.strip() or not is_unicode(name):
        raise DataError(f"a class to add is called {name!r}: expected a name to put into prompts")
    if len(name) > LONGEST_NAME:
        raise DataError(
            f"the name {name[:40]!r}... of a class to add has {len(name):,} characters, more than the "
            f"limit of {LONGEST_NAME:,}: shorten it"
        )
    if (same := known.get(_folded(name))) is not None:
        raise DataError(
            f"the class {name!r} cannot be added: there is a class {same!r} already, and case and "
            "blanks do not tell names apart; give it another name, or leave it out"
        )


def _check_prototypes(prototypes: np.ndarray, *, n_classes: int, width: int) -> None:
    if prototypes.shape != (n_classes, width):
        raise DataError(
            f"the prototypes have the shape {prototypes.shape}: expected {(n_classes, width)}, the text "
            "features of one class a name, of the encoder that the classifier was fitted to"
        )
    lengths = np.linalg.norm(prototypes.astype(np.float64), axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise DataError(
            "a prototype is all zero or holds NaN or infinity, and has no direction: encode the "
            "prompts of the class again"
        )


def _parts(classifier: Classifier) -> tuple[Classifier, ...]:
    return classifier.parts if isinstance(classifier, ExtendedClassifier) else (classifier,)


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _by_text(
    fitted: Any, class_names: tuple[str, ...], prototypes: Float[np.ndarray, "c d"]
) -> Classifier:
    """A classifier of the new classes alone, which adapts an image as the fitted one does."""
    from clip_adapter.methods.classifiers import AdapterClassifier, PrototypeClassifier

    if isinstance(fitted, AdapterClassifier):
        return replace(fitted, class_prototypes=prototypes, class_names=class_names)
    return PrototypeClassifier(
        class_prototypes=prototypes, logit_scale=fitted.logit_scale, class_names=class_names
    )
