"""Recorded decisions, and which champion is current by them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from champions import current_champion, damage, id_of

from clip_adapter.runs import (
    PromotionRecord,
    PromotionStore,
    RunStoreError,
    query,
)
from feature_cache import Location, compact_folder, stored_folders

Decision = Callable[..., PromotionRecord]


def test_what_was_decided_is_read_back(any_root: Location, decision_of: Decision) -> None:
    store, record = PromotionStore(any_root), decision_of(1)
    store.append(record, content=b"classifier 1")
    assert store.history("digits") == [record]
    found = store.champion("digits", on_corruption=pytest.fail)
    assert found is not None
    assert (found.record, found.content) == (record, b"classifier 1")


def test_before_the_first_promotion_there_is_no_champion(root: Path) -> None:
    assert current_champion(root) is None


def test_the_last_promotion_is_current_and_a_refusal_changes_nothing(
    root: Path, promote: Decision
) -> None:
    promote(1)
    promote(2)
    promote(3, decision="refused")
    assert current_champion(root) == id_of(2)


def test_a_wrong_clock_does_not_reorder(root: Path, promote: Decision) -> None:
    promote(1)
    promote(2, decided_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert current_champion(root) == id_of(2)
    (row,) = query(root, "SELECT promotion_id FROM champion").to_pylist()
    assert row["promotion_id"] == id_of(2)


def test_of_two_decisions_at_once_the_later_counts(root: Path, promote: Decision) -> None:
    first = promote(1)
    promote(2, sequence=1, decided_at=first.decided_at - timedelta(seconds=1))
    assert current_champion(root) == id_of(1)


def test_another_datasets_decisions_are_none_of_its_business(root: Path, promote: Decision) -> None:
    promote(1)
    promote(2, dataset="eurosat")
    assert current_champion(root) == id_of(1)
    assert PromotionStore(root).datasets() == ["digits", "eurosat"]


def test_a_damaged_champion_is_named_and_the_one_before_is_current(
    root: Path, promote: Decision
) -> None:
    promote(1)
    damage(root, promote(2))
    said: list[str] = []
    assert current_champion(root, said) == id_of(1)
    assert len(said) == 1
    assert "digest" in said[0]
    assert id_of(2)[:8] in said[0]


def test_a_lost_file_is_named_as_well(root: Path, promote: Decision) -> None:
    Path(str(PromotionStore(root).path_of(promote(1)))).unlink()
    said: list[str] = []
    assert current_champion(root, said) is None
    assert "it is gone" in said[0]


def test_a_crash_before_the_row_leaves_the_old_champion(
    root: Path, promote: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(1)

    def die(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", die)
    with pytest.raises(OSError, match="no space"):
        promote(2)
    assert current_champion(root) == id_of(1)
    assert len(list((root / "champions" / "digits").iterdir())) == 2
    monkeypatch.undo()
    promote(2)
    assert current_champion(root) == id_of(2)


def test_a_crash_before_the_file_leaves_no_row(
    root: Path, promote: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("clip_adapter.runs.promotions.write_content", die)
    with pytest.raises(OSError, match="no space"):
        promote(1)
    assert PromotionStore(root).history("digits") == []


def test_content_that_is_not_what_the_record_names_makes_no_decision(
    root: Path, decision_of: Decision
) -> None:
    with pytest.raises(RunStoreError, match="give its digest"):
        PromotionStore(root).append(decision_of(1), content=b"another classifier")
    assert PromotionStore(root).history("digits") == []


def test_a_value_that_does_not_fit_leaves_nothing_behind(root: Path, decision_of: Decision) -> None:
    with pytest.raises(pa.ArrowInvalid):
        PromotionStore(root).append(decision_of(1, shots=2**40), content=b"classifier 1")
    assert not root.exists()


def test_the_same_retraining_is_found_again(root: Path, promote: Decision) -> None:
    promote(1)
    record = promote(2, decision="refused")
    store = PromotionStore(root)
    assert store.decided("digits", "retraining-2") == record
    assert store.decided("digits", "retraining-3") is None
    assert store.decided("eurosat", "retraining-2") is None


def test_of_several_decisions_on_one_retraining_the_last_counts(
    root: Path, promote: Decision
) -> None:
    promote(1, retraining_fingerprint="the same")
    last = promote(2, decision="refused", retraining_fingerprint="the same")
    assert PromotionStore(root).decided("digits", "the same") == last


def test_the_views_show_decisions_in_order_and_the_last_champion(
    root: Path, promote: Decision
) -> None:
    promote(1)
    promote(2)
    promote(3, decision="refused")
    decisions = query(root, "SELECT sequence, decision FROM promotions").to_pylist()
    assert [tuple(row.values()) for row in decisions] == [
        (1, "promoted"),
        (2, "promoted"),
        (3, "refused"),
    ]
    (champion,) = query(root, "FROM champion").to_pylist()
    assert (champion["promotion_id"], champion["accuracy_challenger"]) == (id_of(2), 0.9)


def test_compaction_changes_no_decision(any_root: Location, decision_of: Decision) -> None:
    store = PromotionStore(any_root)
    for number in (1, 2, 3):
        store.append(decision_of(number), content=f"classifier {number}".encode())
    before = store.history("digits")
    for folder in stored_folders(any_root):
        compact_folder(folder)
    assert store.history("digits") == before


def test_decisions_that_two_files_hold_count_once(root: Path, promote: Decision) -> None:
    record = promote(1)
    second = replace(record, promotion_id=id_of(2), sequence=2)
    PromotionStore(root).append(second)
    for folder in stored_folders(root):
        compact_folder(folder)
    PromotionStore(root).append(record)
    assert PromotionStore(root).history("digits") == [record, second]
    assert query(root, "SELECT count(*) AS n FROM promotions").to_pylist() == [{"n": 2}]
