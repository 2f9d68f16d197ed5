"""Classifiers tested on another dataset: the same classes by name, or others by their text."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from clip_adapter.datasets import DatasetIndex, FewShotSplit
from clip_adapter.methods import Classifier, Method, class_prototypes
from clip_adapter.methods.extended_classifier import NOT_EXTENSIBLE, retarget_classifier
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.provenance import digest_values


@dataclass(frozen=True, kw_only=True)
class Target:
    """A dataset on whose test split classifiers of another dataset are tested.

    Attributes:
        encoded: the dataset with the features of its test split, by the encoder of the classifiers.
        columns: class number of the classifiers for each class of the dataset, where all of them are
            classes of the classifiers by name: a domain shift. None where they are not: the dataset has
            classes of its own, which are known by their text.
    """

    encoded: EncodedDataset
    columns: tuple[int, ...] | None

    @property
    def protocol(self) -> Literal["domain-shift", "cross-dataset"]:
        """Which classes are tested: those of the classifiers, or others."""
        return "cross-dataset" if self.columns is None else "domain-shift"

    def can_test(self, method: Method) -> bool:
        """Whether classifiers of a method are tested on the classes of the dataset."""
        return self.columns is not None or is_tested_on_new_classes(method)

    def digest(self) -> str:
        """SHA-256 of the images that are tested, their labels, and how classes are known."""
        dataset = self.encoded.dataset
        known: dict[str, Any] = (
            {"prompts": dataset.prompts_by_class}
            if self.columns is None
            else {"columns": self.columns}
        )
        return digest_values(
            dataset=dataset.name,
            index=dataset.index_fingerprint,
            class_names=dataset.class_names,
            **known,
        )

    def n_leaked(self, split: FewShotSplit, index: DatasetIndex) -> int:
        """The number of different test images that are among those that train or choose.

        Args:
            split: images of the classifiers' dataset that train and choose.
            index: index of the classifiers' dataset.
        """
        tested = self.encoded.dataset.index
        test_digests = {tested.image_sha256[row] for row in tested.rows("test")}
        rows = (*split.train_rows, *split.val_rows)
        return len(test_digests.intersection(index.image_sha256[row] for row in rows))

    def logits(
        self, classifier: Classifier, features: DatasetFeatures, *, method: str
    ) -> Float[np.ndarray, "n c"]:
        """Logits of the test images, one column a class of this dataset.

        Args:
            classifier: a classifier of another dataset, of all its classes if these are tested.
            features: features of this dataset.
            method: name of the method that made the classifier, for messages.

        Raises:
            DataError: the classes are others, and the classifier has no class prototypes.
        """
        if self.columns is None:
            names = self.encoded.dataset.class_names
            prototypes = class_prototypes(features.prompt_features)
            classifier = retarget_classifier(classifier, names, prototypes, method=method)
            return classifier.logits(features.test_features)
        restricted: Float[np.ndarray, "n c"] = classifier.logits(features.test_features)[
            :, list(self.columns)
        ]
        return restricted


def is_tested_on_new_classes(method: Method) -> bool:
    """Whether classifiers of a method are tested on classes that they were not trained on.

    Those without class prototypes know no class by its name. Those that learn prompts, as CoOp, do not keep
    the learned context, without which their accuracy on new classes is that of zero-shot; published
    figures are with it (Zhou et al. 2022, https://arxiv.org/abs/2203.05557).
    """
    return method.name not in NOT_EXTENSIBLE and not method.needs_text_tower


def match_classes(known: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """The place among known class names of each wanted one; None unless all are found.

    Case, accents' encoding, blanks, hyphens, underscores and other punctuation do not tell names apart.
    A name that several classes share is found where as many known classes share it, in their order.

    >>> match_classes(["great white shark", "tabby cat", "T-shirt"], ["t_shirt", "Tabby Cat"])
    (2, 1)
    >>> match_classes(["cat", "dog"], ["cat", "owl"]) is None
    True
    """
    places, wanted_places = _places(known), _places(wanted)
    if any(len(places.get(name, ())) != len(of_name) for name, of_name in wanted_places.items()):
        return None
    found = {
        place: column
        for name, of_name in wanted_places.items()
        for place, column in zip(of_name, places[name], strict=True)
    }
    return tuple(found[place] for place in range(len(wanted))) or None


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(_folded(name), []).append(place)
    return places


def _folded(name: str) -> str:
    letters = (
        letter if letter.isalnum() or unicodedata.category(letter).startswith("M") else " "
        for letter in unicodedata.normalize("NFKC", name).casefold()
    )
    return " ".join("".join(letters).split()) or name
