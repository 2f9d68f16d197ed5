"""Challenger and champion before the same images, that neither of them has learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from clip_adapter.datasets import DatasetIndex, FewShotSplit, Split
from clip_adapter.methods import Classifier, SavedClassifier, create_method, decode_classifier
from clip_adapter.runs import (
    FEWEST_IMAGES,
    Champion,
    PairedDifference,
    PromotionRecord,
    paired_difference,
    query,
)
from feature_cache import FeatureStore, Location
from tasks.arrays import DatasetArrays
from tasks.challengers import PromotionError

__all__ = ["Judged", "Rival", "judge", "judgement_rows", "reigning_rival"]

_LEARNED_FROM = """
SELECT DISTINCT image_sha256
FROM splits SEMI JOIN (FROM runs WHERE run_id = '{}') USING (split_fingerprint)
"""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Who reigns.

    Attributes:
        name: what a person calls it.
        classifier: that reigns.
        encoder: whose features it takes.
        seen: digests of the images that it was trained or chosen with.
    """

    name: str
    classifier: Classifier
    encoder: str
    seen: frozenset[bytes]

    def other_classes(self, class_names: Sequence[str]) -> str:
        """How its classes differ from those of the dataset, in words; empty where they do not."""
        theirs = self.classifier.class_names
        lacks = [repr(name) for name in class_names if name not in theirs]
        gone = [repr(name) for name in theirs if name not in class_names]
        parts = [f"it does not know {', '.join(lacks[:5])}"] if lacks else []
        parts += [f"it still names {', '.join(gone[:5])}"] if gone else []
        return (
            f"; the classes of {self.name} are not the dataset's: {' and '.join(parts)}"
            if parts
            else ""
        )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of it.

    Attributes:
        n_images: on which both can be judged.
        paired: challenger against rival; None where there are too few images.
    """

    n_images: int
    paired: PairedDifference | None


def reigning_rival(champion: Champion | None, arrays: DatasetArrays, split: FewShotSplit) -> Rival:
    """The champion; before there is one, zero-shot.

    Args:
        champion: with the content of its file.
        arrays: of the dataset as it is now.
        split: any, of which zero-shot takes prompts and class names alone.

    Raises:
        PromotionError: what the champion learned from is no longer on record.
        ClassifierFileError: its file is of a newer format.
    """
    if champion is None:
        (fitted,) = create_method("zero-shot").fit([arrays.task(split)])
        return Rival(
            name="zero-shot",
            classifier=fitted.classifier,
            encoder=arrays.encoded.encoder,
            seen=frozenset(),
        )
    record = champion.record
    saved = decode_classifier(champion.content, source=str(champion.path))
    saved.check_encoder(record.encoder)
    seen = _learned_from(arrays.encoded.dataset.root, record)
    name = f"the champion {record.promotion[:8]}"
    return Rival(name=name, classifier=saved.classifier, encoder=record.encoder, seen=seen)


def judgement_rows(index: DatasetIndex, seen: frozenset[bytes]) -> Int[np.ndarray, " n"]:
    """The rows on which classifiers that have `seen` those images can be judged.

    They are of the validation split, of the training split where there is none, one a distinct
    image; none of them occurs in test as well, or under two labels.
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


def judge(
    challenger: SavedClassifier, rival: Rival, arrays: DatasetArrays, *, seen: frozenset[bytes]
) -> Judged:
    """Let both name the class of every image that neither has learned from.

    A class counts by its name: one that the rival does not know it cannot get right. A rival of
    another encoder is judged where there are stored features of both.

    Args:
        challenger: fitted to the features in `arrays`.
        rival: who reigns.
        arrays: of the dataset as it is now.
        seen: digests of the images that the challenger was trained or chosen with.
    """
    store = FeatureStore(arrays.encoded.dataset.root, rival.encoder)
    rows = _with_features(store, arrays, judgement_rows(arrays.index, seen | rival.seen))
    if len(rows) < FEWEST_IMAGES:
        return Judged(n_images=len(rows), paired=None)
    names = arrays.encoded.dataset.class_names
    truth = [names[label] for label in arrays.index.labels[rows]]
    theirs = store.read_images(arrays.digests(rows)).astype(np.float32, copy=False)
    paired = paired_difference(
        _right(challenger.classifier, arrays.features(rows), truth)[None],
        _right(rival.classifier, theirs, truth)[None],
    )
    return Judged(n_images=len(rows), paired=paired)


def _with_features(
    store: FeatureStore, arrays: DatasetArrays, rows: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    missing = set(store.missing_images(arrays.digests(rows)))
    lacks = [digest in missing for digest in arrays.digests(rows)]
    kept: Int[np.ndarray, " n"] = rows[~np.asarray(lacks, dtype=bool)]
    return kept


def _right(
    classifier: Classifier, features: np.ndarray, truth: Sequence[str]
) -> Bool[np.ndarray, " n"]:
    said = classifier.logits(features).argmax(axis=1)
    names = [classifier.class_names[label] for label in said]
    return np.asarray([name == true for name, true in zip(names, truth, strict=True)])


def _learned_from(root: Location, record: PromotionRecord) -> frozenset[bytes]:
    found = query(root, _LEARNED_FROM.format(record.run_id))["image_sha256"].to_pylist()
    if record.shots and not found:
        raise PromotionError(
            f"the images that champion {record.promotion[:8]} of {record.dataset!r} learned from "
            f"are no longer on record (run {record.run_id}), so that nothing can be judged fairly: "
            f"put runs/runs and runs/splits back, or `clip-adapter rollback {record.dataset}`"
        )
    return frozenset(bytes.fromhex(digest) for digest in found)
