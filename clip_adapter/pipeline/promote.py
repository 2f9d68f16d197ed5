"""Promotes the candidate of a sweep if it is proven better than the champion, else refuses it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa

from clip_adapter.datasets import DatasetIndex
from clip_adapter.devices import choose_device
from clip_adapter.pipeline.candidate import choose_candidate, fit_candidate
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import not_retried
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.pipeline.paired_evaluation import current_baseline, evaluate_pair
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.pipeline.provenance import digest_values, git_commit
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.runs import (
    RUN_TABLES,
    Champion,
    LabelDrift,
    PairedDifference,
    PromotionRecord,
    PromotionStore,
    RequestStore,
    decide,
    last_champion,
    rolled_back,
)
from feature_cache import IndexStore, NotStoredError


def label_drift(dataset: IndexedDataset, champion: PromotionRecord) -> LabelDrift:
    """Compare the labels of images that today's index and the champion's have in common.

    Images are identified by their digest, classes by their name. A class whose name is gone was renamed
    if most of its images are in one class of a new name, and most of that class are from it; its images
    have not changed then. The result is unknown where fewer
    than half of the champion's images are still there: images that were saved again under wrong
    names look like that. Images that are in test in either index or have two labels are left out.

    Args:
        dataset: the dataset as it is now.
        champion: promotion with whose index the labels are compared.
    """
    if champion.index_fingerprint == dataset.index_fingerprint:
        return LabelDrift()
    try:
        before = IndexStore(dataset.root, dataset.name).read(champion.index_fingerprint)
    except NotStoredError as error:
        return LabelDrift(unknown=str(error))
    columns = (before.column(name).to_pylist() for name in ("image_sha256", "class_name", "split"))
    then = _by_image(zip(*columns, strict=True))
    index = dataset.index
    names = [dataset.class_names[label] for label in index.labels]
    now = _by_image(zip(index.image_sha256, names, index.splits, strict=True))
    common = [digest for digest in now if digest in then]
    if 2 * len(common) < len(then):
        return LabelDrift(unknown=_too_few(len(common), len(then)))
    renamed = _renamed([(then[digest], now[digest]) for digest in common])
    changed = [each for each in common if now[each] != renamed.get(then[each], then[each])]
    return LabelDrift(
        n_common=len(common),
        n_relabelled=len(changed),
        example=_example(index, changed[0], then, now) if changed else "",
        renamed=renamed,
    )


def _renamed(names: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The new names of classes, from the names that each image had and has.

    Two classes that swapped their names were not renamed: that is how swapped folders look.
    """
    before, after = (Counter(side) for side in zip(*names, strict=True)) if names else ({}, {})
    return {
        old: new
        for (old, new), n in Counter(names).items()
        if old not in after and new not in before and 2 * n > max(before[old], after[new])
    }


def _too_few(n_common: int, n_before: int) -> str:
    return (
        f"of the {n_before:,} images it was trained among only {n_common:,} are there today, bit "
        "for bit, expected half or more"
    )


def _by_image(rows: Iterable[tuple[bytes, str, str]]) -> dict[bytes, str]:
    names: dict[bytes, set[str]] = {}
    tested: set[bytes] = set()
    for digest, name, split in rows:
        names.setdefault(digest, set()).add(name)
        if split == "test":
            tested.add(digest)
    return {
        digest: found.pop()
        for digest, found in names.items()
        if len(found) == 1 and digest not in tested
    }


def _example(
    index: DatasetIndex, digest: bytes, then: dict[bytes, str], now: dict[bytes, str]
) -> str:
    path = index.paths[index.image_sha256.index(digest)]
    return f"{path!r}, which was {then[digest]!r} and is {now[digest]!r}"


@dataclass(frozen=True, kw_only=True)
class Promotion(TabularResult):
    """A decision about the champion.

    Attributes:
        record: the stored decision with its numbers.
        is_new: whether it was made now; False where this sweep was decided on before.
        is_rolled_back: whether the candidate was promoted before and rolled back since.
    """

    record: PromotionRecord
    is_new: bool
    is_rolled_back: bool = False

    @property
    def summary(self) -> str:
        """One line for a log, which does not repeat an old decision as if it were made now."""
        record = self.record
        if self.is_new:
            return f"{record.candidate}: {record.decision}, {record.reason}"
        return (
            f"unchanged: {record.candidate} {self._known}; nothing it depends on has changed since "
            f"{record.decided_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )

    @property
    def _known(self) -> str:
        promotion = self.record.promotion[:8]
        if self.is_rolled_back:
            return (
                f"was promoted as {promotion} and rolled back, and is not promoted again (`clip-adapter rollback "
                f"{self.record.dataset} --to {promotion}` makes it the champion)"
            )
        if self.record.decision == "promoted":
            return f"is the champion ({promotion})"
        return "was refused and is not compared again"

    def to_arrow(self) -> pa.Table:
        """The decision as one row, with the columns of `PromotionRecord`."""
        return pa.Table.from_pylist([asdict(self.record)], schema=RUN_TABLES["promotions"])

    def _shown(self) -> pa.Table:
        numbers = ("n_images", "accuracy_challenger", "accuracy_champion", "low", "high", "p_value")
        return self.to_arrow().select(["dataset", "decision", "method", "shots", "seed", *numbers])


@not_retried
def decide_promotion(
    specs: Sequence[RunSpec],
    *,
    encoded: EncodedDataset,
    encoding: Encoding | None = None,
    device: str = "auto",
    max_relabelled_fraction: float = 0.05,
    on_regression: Callable[[PromotionRecord], None] | None = None,
    reporter: Reporter,
) -> Promotion:
    """Decide whether the best run of a sweep becomes the champion, and record the decision.

    The candidate is fitted again and compared with the champion on images that neither was trained or
    selected with; with a champion that is pinned, on images alone that the store did not have when it
    was pinned. A sweep that was decided on before gets its recorded decision, unless the champion
    of that decision is no longer current, pinned or not as then, or its file is damaged.

    Args:
        specs: the runs of the sweep.
        encoded: the dataset that was trained on.
        encoding: the encoder, for methods that need its text tower; its device fits.
        device: where to fit where there is no encoding.
        max_relabelled_fraction: fraction of the images in common with the champion's dataset above
            which changed labels are refused, whatever the accuracy; 1 accepts any.
        on_regression: called before a decision is recorded that the candidate is proven worse.
        reporter: where to report damaged champions.

    Raises:
        RunStoreError: no candidate is recorded, or what the champion learned from is not.
    """
    store, dataset = PromotionStore(encoded.dataset.root), encoded.dataset.name
    retraining = digest_values(
        runs=sorted({spec.fingerprint for spec in specs}),
        max_relabelled_fraction=max_relabelled_fraction,
    )
    known = _decided(store, dataset, retraining, reporter)
    if known is not None:
        return known
    spec, run_id = choose_candidate(
        encoded.dataset.root, specs, dataset=encoded.dataset.name, reporter=reporter
    )
    features = DatasetFeatures(encoded, encoding)
    device = choose_device(encoding.device if encoding else device)
    while True:
        champion = _current(store, dataset, reporter)
        record, content, is_regression = _decide(
            spec,
            features,
            store,
            champion,
            run_id=run_id,
            retraining=retraining,
            max_relabelled_fraction=max_relabelled_fraction,
            device=device,
        )
        # While this process was fitting, another may have decided on this sweep or on another.
        known = _decided(store, dataset, retraining, reporter)
        if known is not None:
            return known
        if _state(_current(store, dataset, reporter)) == _state(champion):
            break
        reporter.log("the champion changed meanwhile: the candidate is evaluated again")
    if is_regression and on_regression:
        on_regression(record)
    store.append(record, content=content)
    return Promotion(record=record, is_new=True)


def _decided(
    store: PromotionStore, dataset: str, retraining: str, reporter: Reporter
) -> Promotion | None:
    """The decision that was made on a sweep, if it still holds.

    It does not hold if the champion's file is damaged, or another was promoted, pinned or unpinned since:
    the runs are then compared with another champion, or on other images. The promotion that was rolled
    back last is not made again.
    """
    record = store.decided(dataset, retraining)
    if record is None:
        return None
    current = _current(store, dataset, reporter)
    if record.decision != "promoted":
        holds = (record.champion_before, bool(record.pinned)) == _state(current)
        return Promotion(record=record, is_new=False) if holds else None
    history = store.history(dataset)
    last = last_champion(history)
    if last is not None and record.promotion_id in rolled_back(history, last):
        return Promotion(record=record, is_new=False, is_rolled_back=True)
    holds = record.promotion_id == _state(current)[0]
    return Promotion(record=record, is_new=False) if holds else None


def _current(store: PromotionStore, dataset: str, reporter: Reporter) -> Champion | None:
    """The champion whose file is undamaged."""
    return store.champion(dataset, on_corruption=lambda error: reporter.log(str(error)))


def _state(champion: Champion | None) -> tuple[str | None, bool]:
    """What a comparison with a champion depends on: its promotion, and whether it is pinned."""
    if champion is None:
        return None, False
    return champion.record.promotion, bool(champion.record.pinned)


def _known_images(store: PromotionStore, pinned: PromotionRecord) -> frozenset[bytes]:
    """Digests of the images that the store had of a dataset when its champion was pinned."""
    dataset = pinned.dataset
    decided = {
        each.index_fingerprint for each in store.history(dataset) if each.sequence < pinned.sequence
    }
    asked = {
        each.index_fingerprint
        for each in RequestStore(store.root).history(dataset)
        if each.index_fingerprint and each.asked_at <= pinned.decided_at
    }
    indexes, found = IndexStore(store.root, dataset), set[bytes]()
    for fingerprint in decided | asked:
        with suppress(NotStoredError):  # removed since
            found.update(indexes.read(fingerprint).column("image_sha256").to_pylist())
    return frozenset(found)


def _decide(
    spec: RunSpec,
    features: DatasetFeatures,
    store: PromotionStore,
    champion: Champion | None,
    *,
    run_id: str,
    retraining: str,
    max_relabelled_fraction: float,
    device: str,
) -> tuple[PromotionRecord, bytes | None, bool]:
    """Compare the candidate with the current champion, on new images alone if that is pinned.

    Returns:
        The record of the decision, the file of the candidate if it is promoted, and whether it is
        a regression.
    """
    dataset = features.encoded.dataset
    saved = fit_candidate(features, spec, run_id=run_id, device=device)
    baseline = current_baseline(champion, features, spec.split)
    drift = label_drift(dataset, champion.record) if champion else LabelDrift()
    baseline = replace(baseline, renamed=drift.renamed)
    seen = _seen(features, spec)
    is_pinned = champion is not None and bool(champion.record.pinned)
    if champion and is_pinned:
        seen |= _known_images(store, champion.record)
    n_images, paired = evaluate_pair(saved, baseline, features, seen=seen)
    decision = decide(
        paired,
        drift,
        baseline=baseline.name,
        n_images=n_images,
        max_relabelled_fraction=max_relabelled_fraction,
        left_out=[name for name in dataset.short_classes if name in baseline.class_names]
        if champion
        else [],
        note=_pinned_note(champion.record) if champion and is_pinned else "",
    )
    content, again = None, ""
    if decision.outcome == "promoted":
        from clip_adapter.methods import encode_classifier  # noqa: PLC0415  # imports torch

        content = encode_classifier(saved)
        again = _promoted_again(store, dataset.name, hashlib.sha256(content).hexdigest())
    described = saved.metadata and saved.metadata.encoder
    record = _record(
        spec,
        features.encoded,
        paired,
        run_id=run_id,
        encoder_spec=described and described.model_dump_json(),
        weights_digest=described and described.weights_sha256,
        sequence=store.next_sequence(dataset.name),
        decision=decision.outcome,
        reason=decision.reason + baseline.other_classes(dataset.class_names) + again,
        pinned=is_pinned and decision.outcome != "promoted",
        classifier_sha256=hashlib.sha256(content).hexdigest() if content else None,
        champion_before=champion.record.promotion if champion else None,
        n_images=n_images,
        n_relabelled=drift.n_relabelled,
        retraining_fingerprint=retraining,
    )
    return record, content, decision.is_regression


def _pinned_note(champion: PromotionRecord) -> str:
    when = champion.decided_at.astimezone(UTC)
    return (
        f"; the champion is pinned, so that only images count that are newer than {when:%Y-%m-%d %H:%M} UTC: "
        f"`clip-adapter champion {champion.dataset} --unpin` lets all count"
    )


def _promoted_again(store: PromotionStore, dataset: str, classifier_sha256: str) -> str:
    """A text about a classifier that was promoted and rolled back before; empty for any other."""
    history = store.history(dataset)
    undone = set[str]().union(*(rolled_back(history, each) for each in history))
    found = [
        each.promotion_id
        for each in history
        if each.promotion_id in undone and each.classifier_sha256 == classifier_sha256
    ]
    return (
        f"; this classifier was promoted as {found[-1][:8]} and rolled back before" if found else ""
    )


def _record(
    spec: RunSpec,
    encoded: EncodedDataset,
    paired: PairedDifference | None,
    **decided: Any,
) -> PromotionRecord:
    dataset = encoded.dataset
    return PromotionRecord(
        promotion_id=uuid4().hex,
        decided_at=datetime.now(UTC),
        dataset=dataset.name,
        index_fingerprint=dataset.index_fingerprint,
        encoder=encoded.encoder,
        model=encoded.model,
        method=spec.method.name,
        shots=spec.shots,
        seed=spec.seed,
        settings_fingerprint=spec.settings_fingerprint,
        accuracy_challenger=paired.accuracy_a if paired else None,
        accuracy_champion=paired.accuracy_b if paired else None,
        low=paired.low if paired else None,
        high=paired.high if paired else None,
        p_value=paired.p_value if paired else None,
        git_commit=git_commit(),
        **decided,
    )


def _seen(features: DatasetFeatures, spec: RunSpec) -> frozenset[bytes]:
    """Digests of the images that a run is trained or selected with."""
    rows = {*spec.split.train_rows.tolist(), *spec.split.val_rows.tolist()}
    return frozenset(features.index.image_sha256[row] for row in rows)
