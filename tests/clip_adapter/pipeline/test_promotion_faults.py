"""Crashes, damage and company on the way to a decision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_datasets import CLASSES, GOOD, OTHER_ENCODER, WORTHLESS, SyntheticDatasets

from clip_adapter.pipeline.candidate import fit_candidate
from clip_adapter.runs import Champion, PromotionStore, RunStoreError, query, roll_back
from feature_cache import write_table

pytestmark = pytest.mark.slow

CurrentChampion = Callable[[], Champion | None]


def test_a_crash_before_the_decision_leaves_the_champion_and_the_next_run_decides(
    datasets: SyntheticDatasets, current_champion: CurrentChampion, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD | {"shots": (1,)}).record
    wider = datasets.make_dataset((*CLASSES, "owl"))

    def die(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", die)
    with pytest.raises(OSError, match="no space"):
        datasets.retrain(wider, GOOD)
    found = current_champion()
    assert found is not None
    assert found.record == champion
    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", write_table)
    decided = datasets.retrain(wider, GOOD)
    assert (decided.record.decision, decided.is_new) == ("promoted", True)


def test_a_damaged_champion_is_made_again(
    datasets: SyntheticDatasets,
    root: Path,
    current_champion: CurrentChampion,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoded = datasets.make_dataset()
    first = datasets.retrain(encoded, GOOD).record
    path = Path(str(PromotionStore(root).path_of(first)))
    path.write_bytes(b"")
    assert current_champion() is None
    again = datasets.retrain(encoded, GOOD)
    assert (again.record.decision, again.is_new) == ("promoted", True)
    assert again.record.classifier_sha256 == first.classifier_sha256
    assert "cannot be used" in capsys.readouterr().err


def test_a_refusal_by_a_champion_that_is_damaged_since_is_decided_anew_once(
    datasets: SyntheticDatasets, root: Path
) -> None:
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD).record
    wider = GOOD | {"seeds": (1, 2, 3)}
    assert datasets.retrain(encoded, wider).record.decision == "refused"
    Path(str(PromotionStore(root).path_of(champion))).write_bytes(b"")
    anew = datasets.retrain(encoded, wider)
    assert (anew.record.decision, anew.record.champion_before) == ("promoted", None)
    assert not datasets.retrain(encoded, wider).is_new


def test_a_refusal_that_would_be_the_same_without_the_champion_is_made_once(
    datasets: SyntheticDatasets, root: Path
) -> None:
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD).record
    datasets.retrain(encoded, WORTHLESS)
    Path(str(PromotionStore(root).path_of(champion))).unlink()
    assert datasets.retrain(encoded, WORTHLESS).is_new
    assert not datasets.retrain(encoded, WORTHLESS).is_new


def test_damage_to_the_one_restored_does_not_promote_the_one_rolled_back_from(
    datasets: SyntheticDatasets, root: Path, current_champion: CurrentChampion
) -> None:
    first = datasets.retrain(datasets.make_dataset(), GOOD | {"shots": (1,)}).record
    wider = datasets.make_dataset((*CLASSES, "owl"))
    assert datasets.retrain(wider, GOOD).record.decision == "promoted"
    roll_back(PromotionStore(root), "gallery")
    Path(str(PromotionStore(root).path_of(first))).unlink()
    assert not datasets.retrain(wider, GOOD).is_new
    assert current_champion() is None


def test_who_decides_on_the_same_sweep_meanwhile_is_not_contradicted(
    datasets: SyntheticDatasets, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = datasets.make_dataset()
    decide = datasets.retrain
    theirs = []

    def fit_after_them(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr("clip_adapter.pipeline.promote.fit_candidate", fit_candidate)
        theirs.append(decide(encoded, GOOD))
        return fit_candidate(*arguments, **options)

    monkeypatch.setattr("clip_adapter.pipeline.promote.fit_candidate", fit_after_them)
    ours = decide(encoded, GOOD)
    assert (ours.record, ours.is_new) == (theirs[0].record, False)
    assert query(root, "SELECT count(*) AS n FROM promotions").to_pylist() == [{"n": 1}]


def test_what_the_champion_learned_from_must_be_known(
    datasets: SyntheticDatasets, root: Path
) -> None:
    datasets.retrain(datasets.make_dataset(), GOOD)
    for path in (root / "runs" / "splits").iterdir():
        path.unlink()
    with pytest.raises(RunStoreError, match="clip-adapter rollback gallery"):
        datasets.retrain(datasets.make_dataset((*CLASSES, "owl"), encoder=OTHER_ENCODER), GOOD)
