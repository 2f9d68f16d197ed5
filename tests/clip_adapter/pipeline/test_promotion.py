"""Which candidate is promoted or refused, from training to the recorded decision."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_datasets import CLASSES, GOOD, OTHER_ENCODER, WORTHLESS, SyntheticDatasets

from clip_adapter.methods import decode_classifier
from clip_adapter.runs import Champion, PromotionRecord, PromotionStore, query, roll_back
from feature_cache import FeatureStore

Event = PromotionRecord
CurrentChampion = Callable[[], Champion | None]


def test_the_first_champion_is_proven_better_than_zero_shot(
    datasets: SyntheticDatasets, current_champion: CurrentChampion, events: list[Event]
) -> None:
    promotion = datasets.retrain(datasets.make_dataset(), GOOD)
    record = promotion.record
    assert (record.decision, promotion.is_new) == ("promoted", True)
    assert (record.method, record.shots, record.seed) == ("gda", 4, 1)
    assert record.champion_before is None
    assert "zero-shot" in record.reason
    assert record.accuracy_challenger > record.accuracy_champion  # type: ignore[operator]  # compared
    assert events == []
    found = current_champion()
    assert found is not None
    assert found.record == record
    saved = decode_classifier(found.content, source="the champion")
    assert (saved.method, saved.encoder) == ("gda", record.encoder)


def test_who_is_no_better_than_zero_shot_is_refused(
    datasets: SyntheticDatasets, current_champion: CurrentChampion, events: list[Event]
) -> None:
    record = datasets.retrain(datasets.make_dataset(telling_prompts=True), GOOD).record
    assert record.decision == "refused"
    assert record.reason.startswith("not proven better: ")
    assert (current_champion(), events) == (None, [])


def test_the_champion_again_is_not_proven_better(
    datasets: SyntheticDatasets, current_champion: CurrentChampion
) -> None:
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD).record
    again = datasets.retrain(encoded, GOOD | {"seeds": (1, 2, 3)}).record
    assert again.decision == "refused"
    assert again.accuracy_challenger == again.accuracy_champion
    assert (again.sequence, again.champion_before) == (2, champion.promotion_id)
    found = current_champion()
    assert found is not None
    assert found.record == champion


def test_a_regression_is_refused_and_told(
    datasets: SyntheticDatasets, current_champion: CurrentChampion, events: list[Event]
) -> None:
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD).record
    record = datasets.retrain(encoded, WORTHLESS).record
    assert record.decision == "refused"
    assert record.reason.startswith("proven worse: ")
    (event,) = events
    assert event == record
    assert event.champion_before == champion.promotion_id
    found = current_champion()
    assert found is not None
    assert found.record == champion


def test_the_same_retraining_is_decided_once(datasets: SyntheticDatasets, root: Path) -> None:
    encoded = datasets.make_dataset()
    first = datasets.retrain(encoded, GOOD)
    files = sorted(root.rglob("*"))
    again = datasets.retrain(encoded, GOOD)
    assert (again.record, again.is_new) == (first.record, False)
    assert sorted(root.rglob("*")) == files


def test_a_rolled_back_champion_is_not_promoted_again_by_the_same_retraining(
    datasets: SyntheticDatasets, root: Path, current_champion: CurrentChampion
) -> None:
    encoded = datasets.make_dataset()
    first = datasets.retrain(encoded, GOOD | {"shots": (1,)}).record
    wider = datasets.make_dataset((*CLASSES, "owl"))
    second = datasets.retrain(wider, GOOD).record
    assert (first.decision, second.decision) == ("promoted", "promoted")
    roll_back(PromotionStore(root), "gallery")
    assert not datasets.retrain(wider, GOOD).is_new
    found = current_champion()
    assert found is not None
    assert found.record.restores == first.promotion_id


def test_a_state_that_comes_back_meets_the_current_champion(
    datasets: SyntheticDatasets, current_champion: CurrentChampion
) -> None:
    narrow = datasets.make_dataset()
    assert datasets.retrain(narrow, GOOD).record.decision == "promoted"
    wide = datasets.make_dataset((*CLASSES, "owl"))
    second = datasets.retrain(wide, GOOD).record
    assert second.decision == "promoted"
    assert "are not the dataset's: it does not know 'owl'" in second.reason

    back = datasets.retrain(narrow, GOOD)
    assert back.is_new
    assert back.record.decision == "refused"
    assert back.record.champion_before == second.promotion_id
    assert "it still names 'owl'" in back.record.reason
    assert not datasets.retrain(narrow, GOOD).is_new

    assert not datasets.retrain(wide, GOOD).is_new
    found = current_champion()
    assert found is not None
    assert found.record.promotion_id == second.promotion_id


def test_a_class_the_champion_does_not_know_counts_against_it(datasets: SyntheticDatasets) -> None:
    datasets.retrain(datasets.make_dataset(), GOOD)
    record = datasets.retrain(datasets.make_dataset((*CLASSES, "owl")), GOOD).record
    assert record.decision == "promoted"
    assert record.accuracy_champion is not None
    assert record.accuracy_champion <= 0.75  # a fourth of the images are owls


def test_classes_are_compared_by_name_and_not_by_number(datasets: SyntheticDatasets) -> None:
    datasets.retrain(datasets.make_dataset(), GOOD)
    record = datasets.retrain(datasets.make_dataset(CLASSES[::-1]), GOOD).record
    assert record.n_relabelled == 0
    assert record.accuracy_champion is not None
    assert min(record.accuracy_champion, record.accuracy_challenger or 0) > 0.9


def test_what_either_has_learned_from_judges_neither(
    datasets: SyntheticDatasets, root: Path
) -> None:
    encoded = datasets.make_dataset()
    sweep = {"methods": ("gda",), "shots": (4,)}
    first, second = (datasets.retrain(encoded, {**sweep, "seeds": (seed,)}) for seed in (2, 3))
    asked = "SELECT count(DISTINCT image_sha256) AS n FROM splits WHERE role = 'validation'"
    (used,) = query(root, asked)["n"].to_pylist()
    assert used > 3 * 4  # the two chose with different images
    assert first.record.n_images == 3 * (40 - 4)
    assert second.record.n_images == 3 * 40 - used


def test_a_champion_of_another_encoder_is_judged_by_its_own_features(
    datasets: SyntheticDatasets,
) -> None:
    champion = datasets.retrain(datasets.make_dataset(), GOOD).record
    record = datasets.retrain(datasets.make_dataset(encoder=OTHER_ENCODER), GOOD).record
    assert record.encoder != champion.encoder
    assert record.n_images >= 30
    assert record.decision == "refused"
    assert record.accuracy_champion == pytest.approx(record.accuracy_challenger, abs=0.1)


def test_without_features_of_both_encoders_nothing_can_be_judged(
    datasets: SyntheticDatasets, root: Path
) -> None:
    champion = datasets.retrain(datasets.make_dataset(), GOOD).record
    for path in FeatureStore(root, champion.encoder).folder.rglob("*.parquet"):
        path.unlink()
    record = datasets.retrain(datasets.make_dataset(encoder=OTHER_ENCODER), GOOD).record
    assert (record.decision, record.n_images, record.p_value) == ("refused", 0, None)
    assert "30 or more" in record.reason


def test_too_few_images_that_neither_has_seen_are_refused(datasets: SyntheticDatasets) -> None:
    few = datasets.make_dataset(sizes={"train": 12, "val": 10, "test": 10})
    record = datasets.retrain(few, GOOD).record
    assert (record.decision, record.n_images) == ("refused", 3 * (10 - 4))


def test_a_decision_keeps_every_number(datasets: SyntheticDatasets, root: Path) -> None:
    encoded = datasets.make_dataset()
    record = datasets.retrain(encoded, GOOD).record
    (row,) = query(root, "FROM promotions").to_pylist()
    assert replace(record, **row) == record
    assert row["n_images"] == 3 * (40 - 4)
    (run,) = query(root, f"SELECT * FROM runs WHERE run_id = '{record.run_id}'").to_pylist()
    assert (run["method"], run["shots"], run["seed"]) == ("gda", 4, 1)


@pytest.mark.parametrize("limit", [0.05, 1])
def test_a_champion_whose_classes_were_renamed_is_compared_by_the_new_names(
    datasets: SyntheticDatasets, limit: float
) -> None:
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD).record
    labels = encoded.dataset.index.labels
    renamed = datasets.relabel(encoded, labels, ["a cat", "a dog", "a hen"])
    record = datasets.retrain(renamed, GOOD, max_relabelled_fraction=limit).record
    assert record.index_fingerprint != champion.index_fingerprint
    assert (record.decision, record.n_relabelled) == ("refused", 0)
    assert record.accuracy_champion == record.accuracy_challenger
    assert record.reason.endswith("; 3 classes were renamed")


def test_a_candidate_without_a_short_class_of_the_champion_is_refused(
    datasets: SyntheticDatasets, current_champion: CurrentChampion
) -> None:
    champion = datasets.retrain(datasets.make_dataset(), GOOD | {"shots": (1,)}).record
    assert champion.decision == "promoted"
    wide = datasets.make_dataset((*CLASSES[:2], "owl"))  # owls count against the champion
    without = replace(wide, dataset=replace(wide.dataset, short_classes=("hen", "wren")))
    record = datasets.retrain(without, GOOD).record
    assert record.decision == "refused"
    assert record.accuracy_challenger > record.accuracy_champion  # type: ignore[operator]  # compared
    assert "1 class that the champion" in record.reason
    assert "would be lost: 'hen' has too few images" in record.reason
    assert "--short-classes take-all" in record.reason
    found = current_champion()
    assert found is not None
    assert found.record == champion
