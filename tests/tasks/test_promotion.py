"""Who is promoted and who is refused, from training to the decision at rest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from galleries import CLASSES, GOOD, OTHER_ENCODER, WORTHLESS, Gallery

from clip_adapter.methods import decode_classifier
from clip_adapter.runs import Champion, PromotionStore, query, roll_back
from feature_cache import FeatureStore, write_table
from tasks.challengers import PromotionError, fit_challenger
from tasks.references import EncodedDataset
from tasks.stored_indexes import read_index

Event = dict[str, Any]


@pytest.fixture(name="gallery")
def _gallery(root: Path) -> Gallery:
    return Gallery(root)


@pytest.fixture(name="events", autouse=True)
def _events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Every event that would go to Prefect."""
    emitted: list[Event] = []
    monkeypatch.setattr("tasks.regressions.emit_event", lambda **event: emitted.append(event))
    return emitted


@pytest.fixture(name="reigning")
def _reigning(root: Path) -> Callable[[], Champion | None]:
    def read() -> Champion | None:
        return PromotionStore(root).champion("gallery", on_damage=lambda _: None)

    return read


Reigning = Callable[[], Champion | None]


def relabelled(gallery: Gallery, encoded: EncodedDataset, change: Callable[..., Any]) -> Any:
    index = read_index(encoded.dataset)
    labels = index.labels.copy()
    change(labels, np.asarray(index.splits))
    return gallery.relabel(encoded, labels)


def shuffle(labels: np.ndarray, splits: np.ndarray) -> None:
    rows = np.flatnonzero(splits != "test")
    labels[rows] = np.random.default_rng(0).permutation(labels[rows])


def swap_two(labels: np.ndarray, splits: np.ndarray) -> None:  # noqa: ARG001  # a change
    labels[:] = np.array([1, 0, 2])[labels]


def shuffle_test(labels: np.ndarray, splits: np.ndarray) -> None:
    rows = np.flatnonzero(splits == "test")
    labels[rows] = np.random.default_rng(0).permutation(labels[rows])


def test_the_first_champion_is_proven_better_than_zero_shot(
    gallery: Gallery, reigning: Reigning, events: list[Event]
) -> None:
    promotion = gallery.retrain(gallery.hang(), GOOD)
    record = promotion.record
    assert (record.decision, promotion.is_new) == ("promoted", True)
    assert (record.method, record.shots, record.seed) == ("linear-probe", 4, 1)
    assert record.champion_before is None
    assert "zero-shot" in record.reason
    assert record.accuracy_challenger > record.accuracy_champion  # type: ignore[operator]  # judged
    assert events == []
    found = reigning()
    assert found is not None
    assert found.record == record
    saved = decode_classifier(found.content, source="the champion")
    assert (saved.method, saved.encoder) == ("linear-probe", record.encoder)


def test_who_is_no_better_than_zero_shot_is_refused(
    gallery: Gallery, reigning: Reigning, events: list[Event]
) -> None:
    record = gallery.retrain(gallery.hang(telling_prompts=True), GOOD).record
    assert record.decision == "refused"
    assert record.reason.startswith("not proven better: ")
    assert (reigning(), events) == (None, [])


def test_the_champion_again_is_not_proven_better(gallery: Gallery, reigning: Reigning) -> None:
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD).record
    again = gallery.retrain(encoded, GOOD | {"seeds": (1, 2, 3)}).record
    assert again.decision == "refused"
    assert again.accuracy_challenger == again.accuracy_champion
    assert (again.sequence, again.champion_before) == (2, champion.promotion_id)
    found = reigning()
    assert found is not None
    assert found.record == champion


def test_a_regression_is_refused_and_told(
    gallery: Gallery, reigning: Reigning, events: list[Event]
) -> None:
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD).record
    record = gallery.retrain(encoded, WORTHLESS).record
    assert record.decision == "refused"
    assert record.reason.startswith("proven worse: ")
    (event,) = events
    assert event["event"] == "clip-adapter.model.regressed"
    assert event["resource"]["prefect.resource.id"] == "clip-adapter.dataset.gallery"
    assert event["payload"]["champion_before"] == champion.promotion_id
    assert event["payload"]["accuracy_challenger"] == record.accuracy_challenger
    found = reigning()
    assert found is not None
    assert found.record == champion


@pytest.mark.parametrize("spoil", [shuffle, swap_two])
def test_spoiled_labels_are_refused_and_told_and_the_champion_stays(
    gallery: Gallery, reigning: Reigning, events: list[Event], spoil: Callable[..., None]
) -> None:
    """Two folders swapped: the challenger would win on labels as wrong as its own."""
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD).record
    record = gallery.retrain(relabelled(gallery, encoded, spoil), GOOD).record
    assert record.decision == "refused"
    assert record.reason.startswith("labels changed: ")
    assert record.n_relabelled > 0
    assert len(events) == 1
    found = reigning()
    assert found is not None
    assert found.record == champion


def test_changed_labels_can_be_accepted_on_purpose(gallery: Gallery) -> None:
    encoded = gallery.hang()
    gallery.retrain(encoded, GOOD)
    swapped = relabelled(gallery, encoded, swap_two)
    assert gallery.retrain(swapped, GOOD).record.decision == "refused"
    accepted = gallery.retrain(swapped, GOOD, max_relabelled_fraction=1.0)
    assert (accepted.record.decision, accepted.is_new) == ("promoted", True)


def test_an_index_that_is_lost_is_no_licence(gallery: Gallery, root: Path) -> None:
    encoded = gallery.hang()
    gallery.retrain(encoded, GOOD)
    for path in (root / "datasets").rglob("*.parquet"):
        path.unlink()
    swapped = gallery.hang(sizes={"train": 12, "val": 41, "test": 10})
    record = gallery.retrain(swapped, GOOD).record
    assert record.decision == "refused"
    assert "cannot be told" in record.reason


def test_the_same_retraining_is_decided_once(gallery: Gallery, root: Path) -> None:
    encoded = gallery.hang()
    first = gallery.retrain(encoded, GOOD)
    files = sorted(root.rglob("*"))
    again = gallery.retrain(encoded, GOOD)
    assert (again.record, again.is_new) == (first.record, False)
    assert sorted(root.rglob("*")) == files


def test_a_rolled_back_champion_is_not_promoted_again_by_the_same_retraining(
    gallery: Gallery, root: Path, reigning: Reigning
) -> None:
    encoded = gallery.hang()
    first = gallery.retrain(encoded, GOOD | {"shots": (1,)}).record
    wider = gallery.hang((*CLASSES, "owl"))
    second = gallery.retrain(wider, GOOD).record
    assert (first.decision, second.decision) == ("promoted", "promoted")
    roll_back(PromotionStore(root), "gallery")
    assert not gallery.retrain(wider, GOOD).is_new
    found = reigning()
    assert found is not None
    assert found.record.restores == first.promotion_id


def test_a_class_the_champion_does_not_know_counts_against_it(gallery: Gallery) -> None:
    gallery.retrain(gallery.hang(), GOOD)
    record = gallery.retrain(gallery.hang((*CLASSES, "owl")), GOOD).record
    assert record.decision == "promoted"
    assert record.accuracy_champion is not None
    assert record.accuracy_champion <= 0.75  # a fourth of the images are owls


def test_classes_are_compared_by_name_and_not_by_number(gallery: Gallery) -> None:
    gallery.retrain(gallery.hang(), GOOD)
    record = gallery.retrain(gallery.hang(CLASSES[::-1]), GOOD).record
    assert record.n_relabelled == 0
    assert record.accuracy_champion is not None
    assert record.accuracy_champion > 0.9


def test_a_champion_of_another_encoder_is_judged_by_its_own_features(gallery: Gallery) -> None:
    champion = gallery.retrain(gallery.hang(), GOOD).record
    record = gallery.retrain(gallery.hang(encoder=OTHER_ENCODER), GOOD).record
    assert record.encoder != champion.encoder
    assert record.n_images >= 30
    assert record.decision == "refused"
    assert record.accuracy_champion == pytest.approx(record.accuracy_challenger, abs=0.1)


def test_without_features_of_both_encoders_nothing_can_be_judged(
    gallery: Gallery, root: Path
) -> None:
    champion = gallery.retrain(gallery.hang(), GOOD).record
    for path in FeatureStore(root, champion.encoder).folder.rglob("*.parquet"):
        path.unlink()
    record = gallery.retrain(gallery.hang(encoder=OTHER_ENCODER), GOOD).record
    assert (record.decision, record.n_images, record.p_value) == ("refused", 0, None)
    assert "30 or more" in record.reason


def test_too_few_images_that_neither_has_seen_are_refused(gallery: Gallery) -> None:
    few = gallery.hang(sizes={"train": 12, "val": 10, "test": 10})
    record = gallery.retrain(few, GOOD).record
    assert (record.decision, record.n_images) == ("refused", 3 * (10 - 4))


def test_permuted_test_labels_change_no_decision(tmp_path: Path) -> None:
    """Neither who is chosen, nor what is promoted, nor by which numbers."""
    decisions = []
    for name, change in (("as they are", None), ("permuted", shuffle_test)):
        gallery = Gallery(tmp_path / name)
        encoded = gallery.hang()
        encoded = relabelled(gallery, encoded, change) if change else encoded
        made = [gallery.retrain(encoded, sweep).record for sweep in (GOOD, WORTHLESS)]
        decisions.append(
            [(each.decision, each.reason[:30], each.classifier_sha256, each.low) for each in made]
        )
    assert decisions[0] == decisions[1]


def test_permuted_test_labels_are_no_changed_labels(gallery: Gallery) -> None:
    encoded = gallery.hang()
    gallery.retrain(encoded, GOOD)
    record = gallery.retrain(relabelled(gallery, encoded, shuffle_test), GOOD).record
    assert record.n_relabelled == 0
    assert record.reason.startswith("not proven better: ")


def test_a_crash_before_the_decision_leaves_the_champion_and_the_next_run_decides(
    gallery: Gallery, reigning: Reigning, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD | {"shots": (1,)}).record
    wider = gallery.hang((*CLASSES, "owl"))

    def die(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", die)
    with pytest.raises(OSError, match="no space"):
        gallery.retrain(wider, GOOD)
    found = reigning()
    assert found is not None
    assert found.record == champion
    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", write_table)
    decided = gallery.retrain(wider, GOOD)
    assert (decided.record.decision, decided.is_new) == ("promoted", True)


def test_a_damaged_champion_is_made_again(
    gallery: Gallery, root: Path, reigning: Reigning, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded = gallery.hang()
    first = gallery.retrain(encoded, GOOD).record
    path = Path(str(PromotionStore(root).path_of(first)))
    path.write_bytes(b"")
    assert reigning() is None
    again = gallery.retrain(encoded, GOOD)
    assert (again.record.decision, again.is_new) == ("promoted", True)
    assert again.record.classifier_sha256 == first.classifier_sha256
    assert "cannot be used" in capsys.readouterr().err


def test_who_decides_on_the_same_sweep_meanwhile_is_not_contradicted(
    gallery: Gallery, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = gallery.hang()
    decide = gallery.retrain
    theirs = []

    def fit_after_them(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr("tasks.promotion.fit_challenger", fit_challenger)
        theirs.append(decide(encoded, GOOD))
        return fit_challenger(*arguments, **options)

    monkeypatch.setattr("tasks.promotion.fit_challenger", fit_after_them)
    ours = decide(encoded, GOOD)
    assert (ours.record, ours.is_new) == (theirs[0].record, False)
    assert query(root, "SELECT count(*) AS n FROM promotions").to_pylist() == [{"n": 1}]


def test_what_the_champion_learned_from_must_be_known(gallery: Gallery, root: Path) -> None:
    gallery.retrain(gallery.hang(), GOOD)
    for path in (root / "runs" / "splits").iterdir():
        path.unlink()
    with pytest.raises(PromotionError, match="clip-adapter rollback gallery"):
        gallery.retrain(gallery.hang((*CLASSES, "owl"), encoder=OTHER_ENCODER), GOOD)


def test_a_decision_keeps_every_number(gallery: Gallery, root: Path) -> None:
    encoded = gallery.hang()
    record = gallery.retrain(encoded, GOOD).record
    (row,) = query(root, "FROM promotions").to_pylist()
    assert replace(record, **row) == record
    assert row["n_images"] == 3 * (40 - 4)
    (run,) = query(root, f"SELECT * FROM runs WHERE run_id = '{record.run_id}'").to_pylist()
    assert (run["method"], run["shots"], run["seed"]) == ("linear-probe", 4, 1)
