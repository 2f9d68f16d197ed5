"""Decisions at rest, and who reigns by them."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    DamagedChampionError,
    InvalidRecordError,
    NoChampionError,
    PromotionRecord,
    PromotionStore,
    RollbackError,
    query,
    roll_back,
)
from feature_cache import Location, compact_folder, stored_folders

Decision = Callable[..., PromotionRecord]


def id_of(number: int) -> str:
    return f"{number:032x}"


def reigning(root: Path, said: list[str] | None = None) -> str | None:
    """The promotion that reigns; what is damaged on the way is put into `said`."""
    told = [] if said is None else said
    found = PromotionStore(root).champion("digits", on_damage=lambda each: told.append(str(each)))
    return found and found.record.promotion


def damage(root: Path, record: PromotionRecord) -> None:
    Path(str(PromotionStore(root).path_of(record))).write_bytes(b"")


def test_what_was_decided_is_read_back(any_root: Location, decision_of: Decision) -> None:
    store, record = PromotionStore(any_root), decision_of(1)
    store.append(record, content=b"classifier 1")
    assert store.history("digits") == [record]
    found = store.champion("digits", on_damage=pytest.fail)
    assert found is not None
    assert (found.record, found.content) == (record, b"classifier 1")


def test_before_the_first_promotion_nobody_reigns(root: Path) -> None:
    assert reigning(root) is None


def test_the_last_promotion_reigns_and_a_refusal_changes_nothing(
    root: Path, promote: Decision
) -> None:
    promote(1)
    promote(2)
    promote(3, decision="refused")
    assert reigning(root) == id_of(2)


def test_a_wrong_clock_does_not_reorder(root: Path, promote: Decision) -> None:
    promote(1)
    promote(2, decided_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert reigning(root) == id_of(2)
    (row,) = query(root, "SELECT promotion_id FROM champion").to_pylist()
    assert row["promotion_id"] == id_of(2)


def test_of_two_decisions_at_once_the_later_counts(root: Path, promote: Decision) -> None:
    first = promote(1)
    promote(2, sequence=1, decided_at=first.decided_at - timedelta(seconds=1))
    assert reigning(root) == id_of(1)


def test_another_datasets_decisions_are_none_of_its_business(root: Path, promote: Decision) -> None:
    promote(1)
    promote(2, dataset="eurosat")
    assert reigning(root) == id_of(1)
    assert PromotionStore(root).datasets() == ["digits", "eurosat"]


def test_a_damaged_champion_is_named_and_the_one_before_reigns(
    root: Path, promote: Decision
) -> None:
    promote(1)
    damage(root, promote(2))
    said: list[str] = []
    assert reigning(root, said) == id_of(1)
    assert len(said) == 1
    assert "digest" in said[0]
    assert id_of(2)[:8] in said[0]


def test_a_lost_file_is_named_as_well(root: Path, promote: Decision) -> None:
    Path(str(PromotionStore(root).path_of(promote(1)))).unlink()
    said: list[str] = []
    assert reigning(root, said) is None
    assert "it is gone" in said[0]


def test_whoever_was_rolled_back_from_does_not_return_by_damage(
    root: Path, promote: Decision
) -> None:
    promote(1)
    second = promote(2)
    promote(3)
    assert roll_back(PromotionStore(root), "digits").restores == id_of(2)
    damage(root, second)
    assert reigning(root, []) == id_of(1)


def test_a_crash_before_the_row_leaves_the_old_champion(
    root: Path, promote: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(1)

    def die(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("clip_adapter.runs.promotions.write_table", die)
    with pytest.raises(OSError, match="no space"):
        promote(2)
    assert reigning(root) == id_of(1)
    assert len(list((root / "champions" / "digits").iterdir())) == 2
    monkeypatch.undo()
    promote(2)
    assert reigning(root) == id_of(2)


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
    with pytest.raises(InvalidRecordError, match="give its digest"):
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


def test_a_roll_back_is_no_decision_on_a_retraining(root: Path, promote: Decision) -> None:
    first = promote(1)
    promote(2)
    roll_back(PromotionStore(root), "digits")
    assert PromotionStore(root).decided("digits", "retraining-1") == first


def test_a_roll_back_lets_the_promotion_before_reign_and_removes_nothing(
    root: Path, promote: Decision
) -> None:
    promote(1)
    promote(2)
    promote(3, decision="refused")
    record = roll_back(PromotionStore(root), "digits")
    assert (record.sequence, record.decision, record.champion_before) == (
        4,
        "rolled back",
        id_of(2),
    )
    assert reigning(root) == id_of(1)
    assert len(PromotionStore(root).history("digits")) == 4


def test_two_roll_backs_go_back_two_promotions(root: Path, promote: Decision) -> None:
    for number in (1, 2, 3):
        promote(number)
    store = PromotionStore(root)
    roll_back(store, "digits")
    roll_back(store, "digits")
    assert reigning(root) == id_of(1)


def test_a_roll_back_can_name_any_promotion(root: Path, promote: Decision) -> None:
    promote(1)
    promote(2)
    promote(3)
    store = PromotionStore(root)
    roll_back(store, "digits", to=id_of(1))
    assert reigning(root) == id_of(1)
    roll_back(store, "digits", to=id_of(3))
    assert reigning(root) == id_of(3)


def test_from_the_first_champion_there_is_no_way_back(root: Path, promote: Decision) -> None:
    promote(1)
    with pytest.raises(RollbackError, match="the first champion of 'digits'"):
        roll_back(PromotionStore(root), "digits")


def test_a_roll_back_to_who_reigns_is_refused(root: Path, promote: Decision) -> None:
    promote(1)
    with pytest.raises(RollbackError, match="reigns already"):
        roll_back(PromotionStore(root), "digits", to=id_of(1))


@pytest.mark.parametrize("name", ["f", f"{2:032x}", "0000"])
def test_a_roll_back_to_nowhere_is_refused(root: Path, promote: Decision, name: str) -> None:
    """An unknown id, that of a refused challenger, and the beginning of two."""
    promote(1)
    promote(2, decision="refused")
    promote(3)
    with pytest.raises(UnknownNameError, match="unknown promotion"):
        roll_back(PromotionStore(root), "digits", to=name)


def test_a_roll_back_to_a_damaged_classifier_is_refused(root: Path, promote: Decision) -> None:
    damage(root, promote(1))
    promote(2)
    with pytest.raises(DamagedChampionError):
        roll_back(PromotionStore(root), "digits")
    assert len(PromotionStore(root).history("digits")) == 2


def test_a_misspelt_dataset_suggests_the_nearest(root: Path, promote: Decision) -> None:
    promote(1)
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        roll_back(PromotionStore(root), "digit")


def test_a_dataset_that_nothing_was_promoted_on_has_no_champion(
    root: Path, promote: Decision
) -> None:
    promote(1, decision="refused")
    (root / "datasets" / "eurosat").mkdir(parents=True)
    for dataset in ("digits", "eurosat"):
        with pytest.raises(NoChampionError, match=f"'{dataset}' has no champion"):
            roll_back(PromotionStore(root), dataset)


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


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["promote", "refuse", "damage", "roll back"]), st.integers(0, 9)),
    max_size=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_the_champions_file_always_verifies(
    tmp_path_factory: pytest.TempPathFactory,
    decision_of: Decision,
    actions: list[tuple[str, int]],
) -> None:
    """Whatever happens to the store, who reigns has every byte, or nobody does."""
    root = tmp_path_factory.mktemp("store")
    store = PromotionStore(root)
    for action, number in actions:
        history = store.history("digits")
        if action == "roll back":
            _try_to_roll_back(store)
        elif action == "damage" and (root / "champions").exists():
            files = sorted((root / "champions" / "digits").iterdir())
            files[number % len(files)].write_bytes(b"damaged")
        elif action in {"promote", "refuse"}:
            promotes = action == "promote"
            found = store.champion("digits", on_damage=lambda _: None)
            record = decision_of(
                len(history) + 1,
                decision="promoted" if promotes else "refused",
                champion_before=found and found.record.promotion,
            )
            store.append(record, content=_content(record) if promotes else None)
        _check(store)


def _try_to_roll_back(store: PromotionStore) -> None:
    try:
        roll_back(store, "digits")
    except (RollbackError, NoChampionError, UnknownNameError, DamagedChampionError):
        return


def _check(store: PromotionStore) -> None:
    found = store.champion("digits", on_damage=lambda _: None)
    if found is not None:
        assert hashlib.sha256(found.content).hexdigest() == found.record.classifier_sha256
        assert found.content != b"damaged"


def _content(record: PromotionRecord) -> bytes:
    return f"classifier {record.sequence}".encode()
