"""Evaluates candidate and champion on images that neither of them was trained or selected with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from clip_adapter.datasets import DatasetIndex, FewShotSplit, Split
from clip_adapter.methods import Classifier, SavedClassifier, create_method
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.runs import (
    FEWEST_IMAGES,
    Champion,
    PairedDifference,
    PromotionRecord,
    RunStoreError,
    paired_difference,
    query,
)
from feature_cache import FeatureStore, Location

_LEARNED_FROM = """
SELECT DISTINCT image_sha256
FROM splits SEMI JOIN (FROM runs WHERE run_id = $run_id) USING (split_fingerprint)
"""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The classifier that a candidate is compared with.

    Attributes:
        name: name of the classifier in messages.
        classifier: the fitted classifier.
        encoder: fingerprint of the encoder whose features it takes.
        seen: digests of the images that it was trained or selected with.
        renamed: today's names of its classes that were renamed since.
    """

    name: str
    classifier: Classifier
    encoder: str
    seen: frozenset[bytes]
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes, as they are called today."""
        return tuple(self.renamed.get(name, name) for name in self.classifier.class_names)

    def other_classes(self, class_names: Sequence[str]) -> str:
        """A text about classes that differ from those of the dataset; empty where none do."""
        known, n = self.class_names, len(self.renamed)
        told = f"; {n} {'class was' if n == 1 else 'classes were'} renamed" if n else ""
        lacks = [repr(name) for name in class_names if name not in known]
        gone = [repr(name) for name in known if name not in class_names]
        parts = [f"it does not know {', '.join(lacks[:5])}"] if lacks else []
        parts += [f"it still names {', '.join(gone[:5])}"] if gone else []
        return told + (
            f"; the classes of {self.name} are not the dataset's: {' and '.join(parts)}"
            if parts
            else ""
        )


def current_baseline(
    champion: Champion | None, features: DatasetFeatures, split: FewShotSplit
) -> Baseline:
    """The current champion, or zero-shot where there is none.

    Args:
        champion: the current champion with the content of its file; None where there is none.
        features: features of the dataset as it is now.
        split: any few-shot split; zero-shot uses only prompts and class names.

    Raises:
        RunStoreError: the images that the champion was trained on are no longer recorded.
        DataError: the file of the champion has a newer format.
    """
    if champion is None:
        zero_shot = create_method("zero-shot")
        (fitted,) = zero_shot.fit([features.task(split, zero_shot)])
        return Baseline(
            name="zero-shot",
            classifier=fitted.classifier,
            encoder=features.encoded.encoder,
            seen=frozenset(),
        )
    record = champion.record
    from clip_adapter.methods import decode_classifier  # noqa: PLC0415  # imports torch

    saved = decode_classifier(champion.content, source=str(champion.path))
    saved.check_encoder(record.encoder)
    seen = _learned_from(features.encoded.dataset.root, record)
    name = f"the champion {record.promotion[:8]}"
    return Baseline(name=name, classifier=saved.classifier, encoder=record.encoder, seen=seen)


def held_out_rows(index: DatasetIndex, seen: frozenset[bytes]) -> Int[np.ndarray, " n"]:
    """The rows on which classifiers that were trained or selected with `seen` can be compared.

    The rows belong to the validation split, or to the training split where there is no validation
    split. There is one row for each distinct image. Images that also occur in test or that have two
    labels are left out.

    Args:
        index: index of the dataset.
        seen: digests of images to leave out.
    """
    split: Split = "val" if "val" in index.splits else "train"
    barred = seen | {index.image_sha256[row] for row in index.rows("test")}
    rows: dict[bytes, list[int]] = {}
    for row in index.rows(split).tolist():
        rows.setdefault(index.image_sha256[row], []).append(row)
    chosen = [
        copies[0]
        for digest, copies in rows.items()
        if digest not in barred and len({int(index.labels[row]) for row in copies}) == 1
    ]
    return np.asarray(chosen, dtype=np.int64)


def evaluate_pair(
    candidate: SavedClassifier,
    baseline: Baseline,
    features: DatasetFeatures,
    *,
    seen: frozenset[bytes],
) -> tuple[int, PairedDifference | None]:
    """Compare two classifiers on every image that neither was trained or selected with.

    Classes are compared by name: the baseline is wrong on images of a class that it does not have. A
    baseline of another encoder is compared on the images that have stored features of both.

    Args:
        candidate: a classifier that was fitted to `features`.
        baseline: the current champion, or zero-shot.
        features: features of the dataset as it is now.
        seen: digests of the images that the candidate was trained or selected with.

    Returns:
        The number of images, and the difference of the candidate from the baseline; None in place
        of the difference where there are too few images.
    """
    store = FeatureStore(features.encoded.dataset.root, baseline.encoder)
    rows = _with_features(store, features, held_out_rows(features.index, seen | baseline.seen))
    if len(rows) < FEWEST_IMAGES:
        return len(rows), None
    names = features.encoded.dataset.class_names
    truth = [names[label] for label in features.index.labels[rows]]
    baseline_features = store.read_images(features.digests(rows)).astype(np.float32, copy=False)
    paired = paired_difference(
        _right(
            candidate.classifier,
            features.image_features(rows),
            candidate.classifier.class_names,
            truth,
        )[None],
        _right(baseline.classifier, baseline_features, baseline.class_names, truth)[None],
    )
    return len(rows), paired


def _with_features(
    store: FeatureStore, features: DatasetFeatures, rows: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    missing = set(store.missing_images(features.digests(rows)))
    lacks = [digest in missing for digest in features.digests(rows)]
    kept: Int[np.ndarray, " n"] = rows[~np.asarray(lacks, dtype=bool)]
    return kept


def _right(
    classifier: Classifier, features: np.ndarray, class_names: Sequence[str], truth: Sequence[str]
) -> Bool[np.ndarray, " n"]:
    predicted = classifier.logits(features).argmax(axis=1)
    names = [class_names[label] for label in predicted]
    return np.asarray([name == true for name, true in zip(names, truth, strict=True)])


def _learned_from(root: Location, record: PromotionRecord) -> frozenset[bytes]:
    found = query(root, _LEARNED_FROM, {"run_id": record.run_id})["image_sha256"].to_pylist()
    if record.shots and not found:
        raise RunStoreError(
            f"the images that champion {record.promotion[:8]} of {record.dataset!r} learned from "
            f"are no longer recorded (run {record.run_id}), so that no comparison is fair: "
            f"put runs/runs and runs/splits back, or `clip-adapter rollback {record.dataset}`"
        )
    return frozenset(bytes.fromhex(digest) for digest in found)
