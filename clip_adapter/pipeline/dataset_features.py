"""Arrays that methods learn from, read from the store once a sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.datasets import DatasetIndex, FewShotSplit
from clip_adapter.methods import FewShotTask, Method, TextTower, class_prototypes
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding, n_views
from feature_cache import FeatureStore


@dataclass(frozen=True)
class DatasetFeatures:
    """The stored features of a dataset, each read once.

    Attributes:
        encoded: the dataset and the fingerprint of its encoder.
        encoding: source of the text tower for methods that need it; None where there is no encoder.
    """

    encoded: EncodedDataset
    encoding: Encoding | None = None

    @property
    def index(self) -> DatasetIndex:
        """The rows of the dataset."""
        return self.encoded.dataset.index

    @cached_property
    def text_tower(self) -> TextTower | None:
        """The text tower that encoded the prompts; None for imported features.

        Raises:
            EncoderError: the model changed since it encoded the dataset, or its text tower cannot be
                entered.
        """
        if self.encoding is None or self.encoded.dataset.is_imported:
            return None
        from clip_adapter.encoders import text_tower  # noqa: PLC0415  # whose encoder imports torch

        self.encoding.refuse_other(self.encoded.encoder)
        return text_tower(self.encoding.encoder)

    @cached_property
    def prompt_features(self) -> Float[np.ndarray, "c t d"]:
        """Raw text features, one a prompt of each class.

        Where classes have different numbers of prompts, each has a single feature of length 1, the
        ensemble of its prompts as `class_prototypes` makes it.
        """
        dataset = self.encoded.dataset
        features = self._store.read_prompts(dataset.prompts).astype(np.float32)
        counts = [len(prompts) for prompts in dataset.prompts_by_class]
        if len(set(counts)) == 1:
            return features.reshape(len(counts), counts[0], -1)
        by_class = np.split(features, np.cumsum(counts)[:-1])
        return np.stack([class_prototypes(prompts[np.newaxis]) for prompts in by_class])

    def test_rows(self) -> Int[np.ndarray, " n"]:
        """The rows of the test split."""
        return self.index.rows("test")

    def task(
        self, split: FewShotSplit, method: Method, *, classes: Sequence[int] | None = None
    ) -> FewShotTask:
        """The arrays of a few-shot split that a method may use; no test image is among them.

        Args:
            split: the images for training and for validation.
            method: determines which augmented views and whether the text tower belong to the task.
            classes: numbers of the classes of the task, ascending, to which the images of the split
                belong and which are numbered anew; all when None.

        Raises:
            DataError: the arrays do not make up a task.
            EncoderError: the method needs a text tower, and that of the model cannot be used.
            FeatureCacheError: some features are missing or damaged.
        """
        views = self.encoded.views_for(n_views(method))
        names, prompts = self.encoded.dataset.class_names, self.prompt_features
        if classes is not None:
            names, prompts = tuple(names[label] for label in classes), prompts[list(classes)]
        return FewShotTask(
            train_features=self.image_features(split.train_rows),
            train_labels=self.labels(split.train_rows, classes=classes),
            val_features=self.image_features(split.val_rows),
            val_labels=self.labels(split.val_rows, classes=classes),
            prompt_features=prompts,
            logit_scale=self.encoded.logit_scale,
            class_names=names,
            shots=split.shots,
            seed=split.seed,
            train_views=self._views(split.train_rows, views) if views else None,
            text_tower=self.text_tower if method.needs_text_tower else None,
        )

    def image_features(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Raw image features of some rows, in their order."""
        chosen: Float[np.ndarray, "n d"] = self._features[rows]
        return chosen

    def labels(
        self, rows: Int[np.ndarray, " n"], *, classes: Sequence[int] | None = None
    ) -> Int[np.ndarray, " n"]:
        """The class numbers of some rows, or their places among some classes, ascending."""
        found: Int[np.ndarray, " n"] = self.index.labels[rows]
        if classes is None:
            return found
        places: Int[np.ndarray, " n"] = np.searchsorted(np.asarray(classes), found)
        return places

    @cached_property
    def test_features(self) -> Float[np.ndarray, "n d"]:
        """Raw features of the test split alone, for a dataset of which no other images are encoded."""
        digests = self.digests(self.test_rows())
        return self._store.read_images(digests).astype(np.float32, copy=False)

    def digests(self, rows: Int[np.ndarray, " n"]) -> Sequence[bytes]:
        """The image digests of some rows, in their order."""
        return [self.index.image_sha256[row] for row in rows]

    def _views(
        self, rows: Int[np.ndarray, " n"], views: Sequence[int]
    ) -> Float[np.ndarray, "v n d"]:
        digests = self.digests(rows)
        read = [self._store.read_images(digests, view=view) for view in views]
        return np.stack(read).astype(np.float32, copy=False)

    @cached_property
    def _features(self) -> Float[np.ndarray, "n d"]:
        return self._store.read_images(self.index.image_sha256).astype(np.float32, copy=False)

    @property
    def _store(self) -> FeatureStore:
        return FeatureStore(self.encoded.dataset.root, self.encoded.encoder)
