"""Datasets of features without images, whose classes are as separable as a test wants."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from steps import decide_promotion, plan, train_methods

from clip_adapter.datasets import DatasetIndex, ImageSource, Split
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.index import IndexedDataset, write_index
from clip_adapter.pipeline.promote import Promotion
from clip_adapter.runs import PromotionRecord
from feature_cache import FeatureStore, IndexStore

__all__ = ["CLASSES", "GOOD", "OTHER_ENCODER", "SIZES", "WORTHLESS", "Sweep", "SyntheticDatasets"]

CLASSES = ("cat", "dog", "hen")
SIZES: dict[Split, int] = {"train": 12, "val": 40, "test": 10}
"""Images a class."""
ENCODER, OTHER_ENCODER = "ab" * 32, "cd" * 32
WIDTH = 8
Sweep = dict[str, Any]

GOOD: Sweep = {"methods": ("zero-shot", "gda"), "shots": (1, 4), "seeds": (1, 2)}
"""GDA is a matter of milliseconds, where the linear probe fits fifteen regressions."""
WORTHLESS: Sweep = {
    "methods": ("clip-adapter",),
    "shots": (4,),
    "seeds": (1, 2),
    "settings": {"clip-adapter": {"residual_ratios": [0.0], "epochs": 1}},
}
"""A residual ratio of 0 is zero-shot, whose prompts say nothing here."""


@dataclass(frozen=True)
class SyntheticDatasets:
    """Makes a dataset `gallery` in the store at `root`, of features near the mean of their class."""

    root: Path
    regressions: list[PromotionRecord] = field(default_factory=list)

    def make_dataset(
        self,
        class_names: Sequence[str] = CLASSES,
        *,
        encoder: str = ENCODER,
        sizes: dict[Split, int] | None = None,
        telling_prompts: bool = False,
    ) -> EncodedDataset:
        """Index the images, and store features of them and of the prompts."""
        rows = [
            (name, split, number)
            for name in class_names
            for split, count in (sizes or SIZES).items()
            for number in range(count)
        ]
        index = _index(rows, tuple(class_names))
        write_index(IndexStore(self.root, "gallery"), index)
        encoded = _encoded(self.root, index, encoder)
        store = FeatureStore(self.root, encoder)
        missing = set(store.missing_images(index.image_sha256))
        new = [row for row, key in zip(rows, index.image_sha256, strict=True) if key in missing]
        if new:
            features = np.stack([_feature(*row) for row in new])
            store.append_images([_digest(row) for row in new], features)
        prompts = store.missing_prompts(encoded.dataset.prompts)
        if prompts:
            store.append_prompts(prompts, _prompts(class_names, prompts, telling=telling_prompts))
        return encoded

    def relabel(
        self, encoded: EncodedDataset, labels: np.ndarray, class_names: Sequence[str] | None = None
    ) -> EncodedDataset:
        """The same images under other labels."""
        before = encoded.dataset.index
        names = tuple(class_names or before.source.class_names)
        index = replace(before, labels=labels, source=replace(before.source, class_names=names))
        write_index(IndexStore(self.root, "gallery"), index)
        dataset = replace(encoded.dataset, index_fingerprint=index.fingerprint, class_names=names)
        store = FeatureStore(self.root, encoded.encoder)
        if prompts := store.missing_prompts(dataset.prompts):
            store.append_prompts(prompts, _prompts(names, prompts, telling=False))
        return replace(encoded, dataset=dataset)

    def retrain(self, encoded: EncodedDataset, sweep: Sweep, **options: Any) -> Promotion:
        """Train the runs that are not recorded, then decide on the champion."""
        train_methods(encoded, **sweep)
        return decide_promotion(
            plan(encoded, **sweep),
            encoded=encoded,
            device="cpu",
            on_regression=self.regressions.append,
            **options,
        )


def _digest(row: tuple[str, Split, int]) -> bytes:
    return hashlib.sha256(repr(row).encode()).digest()


def _feature(name: str, split: Split, number: int) -> np.ndarray:
    noise = np.random.default_rng(list(_digest((name, split, number))[:8])).normal(size=WIDTH)
    return (6.0 * _direction(name) + noise).astype(np.float32)


def _direction(word: str) -> np.ndarray:
    drawn = np.random.default_rng(list(word.encode())).normal(size=WIDTH)
    return drawn / np.linalg.norm(drawn)


def _prompts(class_names: Sequence[str], prompts: list[str], *, telling: bool) -> np.ndarray:
    """Features of prompts in the direction of their class, or nearly equal ones."""
    by_prompt = {f"a {name}.": _direction(name) for name in class_names}
    same = _direction("a.")
    chosen = [
        by_prompt[prompt] if telling else same + 1e-3 * _direction(prompt) for prompt in prompts
    ]
    return np.stack(chosen).astype(np.float32)


def _index(rows: list[tuple[str, Split, int]], class_names: tuple[str, ...]) -> DatasetIndex:
    n_images = len(rows)
    return DatasetIndex(
        source=ImageSource("gallery", Path(), class_names, ("a {}.",), files=()),
        paths=tuple(f"{name}/{split}-{number:02d}.jpg" for name, split, number in rows),
        image_sha256=tuple(_digest(row) for row in rows),
        labels=np.array([class_names.index(name) for name, *_ in rows], dtype=np.int64),
        splits=tuple(split for _, split, _ in rows),
        groups=(None,) * n_images,
        widths=np.full(n_images, 16, np.int32),
        heights=np.full(n_images, 16, np.int32),
        n_bytes=np.full(n_images, 900, np.int64),
        quarantined=(),
    )


def _encoded(root: Path, index: DatasetIndex, encoder: str) -> EncodedDataset:
    return EncodedDataset(
        dataset=IndexedDataset(
            root=root,
            name="gallery",
            folder=Path(),
            index_fingerprint=index.fingerprint,
            class_names=index.source.class_names,
            templates=index.source.templates,
            n_images=len(index),
            n_quarantined=0,
            n_leaked=0,
        ),
        model=f"model {encoder[:2]}",
        encoder=encoder,
        precision="fp32",
        logit_scale=100.0,
        n_reused=len(index),
        n_encoded=0,
        n_prompts_encoded=0,
        seconds=0.0,
    )
