"""Crashes, damage and company on the way to a decision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from galleries import CLASSES, GOOD, OTHER_ENCODER, WORTHLESS, Gallery

from clip_adapter.pipeline.candidate import PromotionError, fit_candidate
from clip_adapter.runs import Champion, PromotionStore, query, roll_back
from feature_cache import write_table

CurrentChampion = Callable[[], Champion | None]


def test_a_crash_before_the_decision_leaves_the_champion_and_the_next_run_decides(
    gallery: Gallery, current_champion: CurrentChampion, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD | {"shots": (1,)}).record
    wider = gallery.hang((*CLASSES, "owl"))

    def die(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", die)
    with pytest.raises(OSError, match="no space"):
        gallery.retrain(wider, GOOD)
    found = current_champion()
    assert found is not None
    assert found.record == champion
    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", write_table)
    decided = gallery.retrain(wider, GOOD)
    assert (decided.record.decision, decided.is_new) == ("promoted", True)


def test_a_damaged_champion_is_made_again(
    gallery: Gallery,
    root: Path,
    current_champion: CurrentChampion,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoded = gallery.hang()
    first = gallery.retrain(encoded, GOOD).record
    path = Path(str(PromotionStore(root).path_of(first)))
    path.write_bytes(b"")
    assert current_champion() is None
    again = gallery.retrain(encoded, GOOD)
    assert (again.record.decision, again.is_new) == ("promoted", True)
    assert again.record.classifier_sha256 == first.classifier_sha256
    assert "cannot be used" in capsys.readouterr().err


def test_a_refusal_by_a_champion_that_is_damaged_since_is_decided_anew_once(
    gallery: Gallery, root: Path
) -> None:
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD).record
    wider = GOOD | {"seeds": (1, 2, 3)}
    assert gallery.retrain(encoded, wider).record.decision == "refused"
    Path(str(PromotionStore(root).path_of(champion))).write_bytes(b"")
    anew = gallery.retrain(encoded, wider)
    assert (anew.record.decision, anew.record.champion_before) == ("promoted", None)
    assert not gallery.retrain(encoded, wider).is_new


def test_a_refusal_that_would_be_the_same_without_the_champion_is_made_once(
    gallery: Gallery, root: Path
) -> None:
    encoded = gallery.hang()
    champion = gallery.retrain(encoded, GOOD).record
    gallery.retrain(encoded, WORTHLESS)
    Path(str(PromotionStore(root).path_of(champion))).unlink()
    assert gallery.retrain(encoded, WORTHLESS).is_new
    assert not gallery.retrain(encoded, WORTHLESS).is_new


def test_damage_to_the_one_restored_does_not_promote_the_one_rolled_back_from(
    gallery: Gallery, root: Path, current_champion: CurrentChampion
) -> None:
    first = gallery.retrain(gallery.hang(), GOOD | {"shots": (1,)}).record
    wider = gallery.hang((*CLASSES, "owl"))
    assert gallery.retrain(wider, GOOD).record.decision == "promoted"
    roll_back(PromotionStore(root), "gallery")
    Path(str(PromotionStore(root).path_of(first))).unlink()
    assert not gallery.retrain(wider, GOOD).is_new
    assert current_champion() is None


def test_who_decides_on_the_same_sweep_meanwhile_is_not_contradicted(
    gallery: Gallery, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = gallery.hang()
    decide = gallery.retrain
    theirs = []

    def fit_after_them(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr("clip_adapter.pipeline.promote.fit_candidate", fit_candidate)
        theirs.append(decide(encoded, GOOD))
        return fit_candidate(*arguments, **options)

    monkeypatch.setattr("clip_adapter.pipeline.promote.fit_candidate", fit_after_them)
    ours = decide(encoded, GOOD)
    assert (ours.record, ours.is_new) == (theirs[0].record, False)
    assert query(root, "SELECT count(*) AS n FROM promotions").to_pylist() == [{"n": 1}]


def test_what_the_champion_learned_from_must_be_known(gallery: Gallery, root: Path) -> None:
    gallery.retrain(gallery.hang(), GOOD)
    for path in (root / "runs" / "splits").iterdir():
        path.unlink()
    with pytest.raises(PromotionError, match="clip-adapter rollback gallery"):
        gallery.retrain(gallery.hang((*CLASSES, "owl"), encoder=OTHER_ENCODER), GOOD)
