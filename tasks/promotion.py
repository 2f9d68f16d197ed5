"""Promote the challenger of a sweep if it is proven better than the champion, else refuse it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.methods import create_method, encode_classifier
from clip_adapter.runs import (
    LabelDrift,
    PromotionRecord,
    PromotionStore,
    last_champion,
    rule,
)
from tasks.arrays import DatasetArrays
from tasks.challengers import Challenger, choose_challenger, fit_challenger
from tasks.devices import choose_device
from tasks.judging import Judged, judge, reigning_rival
from tasks.label_drift import label_drift
from tasks.plans import FewShotChoices, plan_runs
from tasks.progress import say
from tasks.provenance import digest_values, git_commit
from tasks.references import EncodedDataset, Encoding, Promotion, TrainedRuns
from tasks.regressions import emit_regression
from tasks.stored_indexes import read_index

__all__ = ["decide_promotion"]


@task(name="decide-promotion", cache_policy=NO_CACHE, result_serializer="json")
def decide_promotion(
    encoded: EncodedDataset,
    runs: TrainedRuns,
    *,
    methods: Sequence[str],
    choices: FewShotChoices,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    encoding: Encoding | None = None,
    device: str = "auto",
    study: str | None = None,
    max_relabelled_fraction: float = 0.05,
) -> Promotion:
    """Decide once on a sweep whose runs are on record; a second time the decision is looked up.

    The challenger is fitted again, judged against the champion on images that neither learned
    from, and the decision put on record with its numbers, be it what it may. A decision that hangs
    on a champion whose file was damaged since is made anew.

    Args:
        encoded: the dataset that was trained on.
        runs: what `train_methods` returned.
        methods: as `train_methods` took them, and so on.
        choices: which few-shot splits the sweep consisted of.
        settings: by method, what differs from its defaults.
        encoding: with what the dataset was encoded, for methods that need the text tower.
        device: where to fit, in torch's spelling, or "auto".
        study: the ablation the runs were made for.
        max_relabelled_fraction: of the images in common with the champion's dataset, above which
            changed labels are refused whatever the test says; 1 accepts any.

    Raises:
        PromotionError: no challenger is on record, or what the champion learned from is not.
    """
    store, dataset = PromotionStore(encoded.dataset.root), encoded.dataset.name
    retraining = digest_values(
        runs=sorted(set(runs.fingerprints)), max_relabelled_fraction=max_relabelled_fraction
    )
    known = _decided(store, dataset, retraining)
    if known is not None:
        return Promotion(record=known, is_new=False)
    wanted = [create_method(name, (settings or {}).get(name)) for name in dict.fromkeys(methods)]
    index = read_index(encoded.dataset)
    plans = plan_runs(encoded, index, wanted, choices=choices, study=study)
    case = _Case(
        arrays=DatasetArrays(encoded, index),
        store=store,
        challenger=choose_challenger(encoded.dataset.root, plans),
        retraining=retraining,
        limit=max_relabelled_fraction,
    )
    while True:
        made = _decide(case, encoding=encoding, device=choose_device(device))
        # Fitting took a while: somebody else may have decided on the same sweep, or on another.
        known = _decided(store, dataset, retraining)
        if known is not None:
            return Promotion(record=known, is_new=False)
        if made.record.champion_before == _reigning(store, dataset):
            break
        say("another champion reigns meanwhile: judged again")
    if made.is_regression:
        emit_regression(made.record)
    store.append(made.record, content=made.content)
    return Promotion(record=made.record, is_new=True)


@dataclass(frozen=True, kw_only=True)
class _Case:
    arrays: DatasetArrays
    store: PromotionStore
    challenger: Challenger
    retraining: str
    limit: float


@dataclass(frozen=True, kw_only=True)
class _Decision:
    record: PromotionRecord
    content: bytes | None
    is_regression: bool


def _decided(store: PromotionStore, dataset: str, retraining: str) -> PromotionRecord | None:
    record = store.decided(dataset, retraining)
    return record if record is not None and _stands(record, store) else None


def _stands(record: PromotionRecord, store: PromotionStore) -> bool:
    """Whether the decision was made against the current champion, or made that champion.

    Not if its file is damaged since, or another was promoted meanwhile: the same runs then meet
    another champion. What a person rolled back from is not promoted anew.
    """
    reigning = _reigning(store, record.dataset)
    if record.decision != "promoted":
        return record.champion_before == reigning
    last = last_champion(store.history(record.dataset))
    if last is not None and last.decision == "rolled back":
        return last.promotion != record.promotion_id or reigning == record.promotion_id
    return reigning == record.promotion_id


def _reigning(store: PromotionStore, dataset: str) -> str | None:
    """The promotion of the champion whose file is as it was."""
    champion = store.champion(dataset, on_damage=lambda error: say(str(error)))
    return champion.record.promotion if champion else None


def _decide(case: _Case, *, encoding: Encoding | None, device: str) -> _Decision:
    arrays, plan = case.arrays, case.challenger.plan
    dataset = arrays.encoded.dataset
    saved = fit_challenger(arrays, plan, encoding=encoding, device=device)
    champion = case.store.champion(dataset.name, on_damage=lambda error: say(str(error)))
    rival = reigning_rival(champion, arrays, plan.split)
    drift = label_drift(dataset, arrays.index, champion.record) if champion else LabelDrift()
    learned_from = {*plan.split.train_rows.tolist(), *plan.split.val_rows.tolist()}
    seen = frozenset(arrays.index.image_sha256[row] for row in learned_from)
    judged = judge(saved, rival, arrays, seen=seen)
    ruling = rule(
        judged.paired,
        drift,
        rival=rival.name,
        n_images=judged.n_images,
        max_relabelled_fraction=case.limit,
    )
    content = encode_classifier(saved) if ruling.decision == "promoted" else None
    record = _record(
        case,
        judged,
        decision=ruling.decision,
        reason=ruling.reason + rival.other_classes(dataset.class_names),
        classifier_sha256=content and hashlib.sha256(content).hexdigest(),
        champion_before=champion and champion.record.promotion,
        n_relabelled=drift.n_relabelled,
    )
    return _Decision(record=record, content=content, is_regression=ruling.is_regression)


def _record(case: _Case, judged: Judged, **decided: Any) -> PromotionRecord:
    encoded, plan = case.arrays.encoded, case.challenger.plan
    dataset = encoded.dataset
    history = case.store.history(dataset.name)
    return PromotionRecord(
        promotion_id=uuid4().hex,
        sequence=history[-1].sequence + 1 if history else 1,
        decided_at=datetime.now(UTC),
        dataset=dataset.name,
        index_fingerprint=dataset.index_fingerprint,
        encoder=encoded.encoder,
        model=encoded.model,
        run_id=case.challenger.run_id,
        method=plan.method.name,
        shots=plan.shots,
        seed=plan.seed,
        settings_fingerprint=plan.settings_fingerprint,
        n_images=judged.n_images,
        **_numbers(judged),
        retraining_fingerprint=case.retraining,
        git_commit=git_commit(),
        **decided,
    )


def _numbers(judged: Judged) -> dict[str, Any]:
    paired = judged.paired
    return {
        "accuracy_challenger": paired.accuracy_a if paired else None,
        "accuracy_champion": paired.accuracy_b if paired else None,
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
        "p_value": paired.p_value if paired else None,
    }
