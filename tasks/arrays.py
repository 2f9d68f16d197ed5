"""From stores to the plain arrays a method works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.datasets import DatasetIndex, FewShotSplit
from clip_adapter.methods import FewShotTask, TextTower
from feature_cache import FeatureStore
from tasks.encode_dataset import prompts_of
from tasks.references import EncodedDataset

__all__ = ["DatasetArrays"]


@dataclass(frozen=True)
class DatasetArrays:
    """The cached features of a dataset, read once for a whole sweep.

    Attributes:
        encoded: which dataset and encoder.
        index: the rows of the dataset.
        text_tower: of the encoder, where a method needs it.
    """

    encoded: EncodedDataset
    index: DatasetIndex
    text_tower: TextTower | None = None

    @cached_property
    def prompt_features(self) -> Float[np.ndarray, "c t d"]:
        """Raw text features, one a template of each class."""
        dataset = self.encoded.dataset
        features = self._store.read_prompts(prompts_of(dataset)).astype(np.float32)
        return features.reshape(len(dataset.class_names), len(dataset.templates), -1)

    def test_rows(self) -> Int[np.ndarray, " n"]:
        """The rows of the test split."""
        return self.index.rows("test")

    def task(self, split: FewShotSplit, *, views: Sequence[int] = ()) -> FewShotTask:
        """What a method may see of a few-shot split.

        Args:
            split: which images train and which choose.
            views: numbers of the augmented views of the training images it may see.
        """
        return FewShotTask(
            train_features=self.features(split.train_rows),
            train_labels=self.index.labels[split.train_rows],
            val_features=self.features(split.val_rows),
            val_labels=self.index.labels[split.val_rows],
            prompt_features=self.prompt_features,
            logit_scale=self.encoded.logit_scale,
            class_names=self.encoded.dataset.class_names,
            shots=split.shots,
            seed=split.seed,
            train_views=self._views(split.train_rows, views) if views else None,
            text_tower=self.text_tower,
        )

    def features(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Raw image features of some rows, in their order."""
        chosen: Float[np.ndarray, "n d"] = self._features[rows]
        return chosen

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
