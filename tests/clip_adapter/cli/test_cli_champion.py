"""The champion and rollback commands, on recorded decisions."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.runs import PromotionStore

Command = Callable[..., Any]
Promote = Callable[..., Any]


@pytest.fixture(name="champion")
def _champion(command: Command, root: Path) -> Command:
    return partial(command, "champion", "digits", "--root", root)


@pytest.fixture(name="rollback")
def _rollback(command: Command, root: Path) -> Command:
    return partial(command, "rollback", "digits", "--root", root)


def damage(root: Path, record: Any) -> None:
    Path(str(PromotionStore(root).path_of(record))).write_bytes(b"")


def test_the_champion_is_named_with_its_numbers_and_its_file(
    champion: Command, promote: Promote, root: Path
) -> None:
    record = promote(1, reason="proven better: 90.0% of 320 images right, zero-shot 80.0%")
    outcome = champion()
    assert (outcome.code, outcome.err) == (0, "")
    who, when, why, file = outcome.out.splitlines()
    assert who == "digits: clip-adapter at 16 shots, seed 1, with glyphs"
    assert when == f"promoted 2026-11-24 02:00:00 UTC, promotion {record.promotion_id}"
    assert why == record.reason
    assert file == f"12 bytes, verified: {PromotionStore(root).path_of(record)}"


def test_the_answer_is_json_for_programs(champion: Command, promote: Promote) -> None:
    record = promote(1)
    printed = json.loads(champion("--json").out)
    assert (printed["promotion_id"], printed["accuracy_challenger"]) == (record.promotion_id, 0.9)
    assert (Path(printed["file"]).stem, printed["damaged"]) == (record.classifier_sha256, [])


def test_the_classifier_is_written_where_it_is_wanted(
    champion: Command, promote: Promote, tmp_path: Path
) -> None:
    promote(1)
    place = tmp_path / "new" / "champion.safetensors"
    assert champion("--to", place).code == 0
    assert place.read_bytes() == b"classifier 1"


def test_nothing_is_replaced_unasked(champion: Command, promote: Promote, tmp_path: Path) -> None:
    promote(1)
    place = tmp_path / "taken"
    place.write_bytes(b"mine")
    refused = champion("--to", place)
    assert (refused.code, place.read_bytes()) == (1, b"mine")
    assert champion("--to", place, "--overwrite").code == 0
    assert place.read_bytes() == b"classifier 1"


def test_the_history_lists_every_decision_and_marks_the_current_one(
    champion: Command, promote: Promote
) -> None:
    promote(1)
    promote(2, decision="refused", reason="not proven better: 85.0% of 320 images right")
    lines = champion("--history").out.splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:3] == ["1", "promoted", "0" * 8]
    assert lines[0].endswith("(current)")
    assert "refused" in lines[2]
    assert lines[3].strip() == "not proven better: 85.0% of 320 images right"


def test_the_history_is_json_for_programs(champion: Command, promote: Promote) -> None:
    promote(1)
    promote(2, decision="refused")
    printed = json.loads(champion("--history", "--json").out)
    assert [(row["decision"], row["reigns"]) for row in printed] == [
        ("promoted", True),
        ("refused", False),
    ]


def test_a_damaged_champion_is_said_and_the_one_before_shown(
    champion: Command, promote: Promote, root: Path
) -> None:
    first = promote(1)
    damage(root, promote(2))
    outcome = champion()
    assert outcome.code == 0
    assert "cannot be used" in outcome.err
    assert f"promotion {first.promotion_id}" in outcome.out


def test_without_a_dataset_every_champion_is_listed(
    command: Command, promote: Promote, root: Path
) -> None:
    record = promote(1)
    promote(1, dataset="birds", decision="refused", reason="no\x1b[2J")
    told = command("champion", "--root", root)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines() == [
        "birds   none: zero-shot",
        (
            "digits  clip-adapter at 16 shots, seed 1, with glyphs, since 2026-11-24 02:00 UTC, "
            f"promotion {record.promotion_id[:8]}"
        ),
    ]
    (printed,) = json.loads(command("champion", "--root", root, "--json").out)
    assert printed["promotion_id"] == record.promotion_id
    refused = command("champion", "--root", root, "--unpin")
    assert refused.code == 1
    assert "need the name of a dataset" in refused.err


def test_a_rollback_pins_until_it_is_unpinned(
    champion: Command, rollback: Command, promote: Promote
) -> None:
    first = promote(1)
    promote(2, champion_before=first.promotion_id)
    assert "; pinned" in rollback().out
    assert champion().out.splitlines()[1].endswith(f"promotion {first.promotion_id}, pinned")
    unpinned = champion("--unpin").out
    assert unpinned.splitlines()[1].startswith("unpinned ")
    assert "pinned" not in unpinned.splitlines()[0]
    again = champion("--unpin")
    assert again.code == 1
    assert "is not pinned: there is nothing to change" in again.err
    assert champion("--pin").out.splitlines()[1].endswith(", pinned")
    assert [line.split()[1] for line in champion("--history").out.splitlines()[::2]] == [
        "promoted",
        "promoted",
        "rolled",
        "unpinned",
        "pinned",
    ]


def test_hostile_names_are_shown_escaped(champion: Command, promote: Promote) -> None:
    promote(1, reason="labels changed, as 'a\x1b[2Jb'")
    assert "\x1b" not in champion().out
    assert "\x1b" not in champion("--history").out


def test_no_champion_yet_is_an_error_that_says_how_to_get_one(
    champion: Command, promote: Promote
) -> None:
    promote(1, decision="refused")
    outcome = champion()
    assert outcome.code == 1
    assert "'digits' has no champion: train with --promote" in outcome.err
    assert champion("--history").code == 0


@pytest.mark.parametrize("name", ["champion", "rollback"])
def test_a_misspelt_dataset_suggests_the_nearest(
    command: Command, promote: Promote, root: Path, name: str
) -> None:
    promote(1)
    outcome = command(name, "digit", "--root", root)
    assert outcome.code == 1
    assert "did you mean 'digits'?" in outcome.err


def test_a_store_that_is_not_there_is_an_error(champion: Command) -> None:
    outcome = champion()
    assert outcome.code == 1
    assert "no store at" in outcome.err


def test_a_roll_back_is_one_command(rollback: Command, champion: Command, promote: Promote) -> None:
    first = promote(1)
    promote(2)
    outcome = rollback()
    assert outcome.code == 0
    assert "rolled back by hand from 00000000 to 00000000" in outcome.out
    assert f"promotion {first.promotion_id}" in champion().out


def test_a_roll_back_is_json_for_programs(rollback: Command, promote: Promote) -> None:
    first = promote(1)
    promote(2)
    printed = json.loads(rollback("--to", first.promotion_id, "--json").out)
    assert (printed["decision"], printed["restores"]) == ("rolled back", first.promotion_id)


def test_a_roll_back_from_the_first_champion_is_refused(
    rollback: Command, promote: Promote
) -> None:
    promote(1)
    outcome = rollback()
    assert outcome.code == 1
    assert "no promotion before it" in outcome.err


def test_a_deep_verification_finds_a_damaged_champion_and_repair_sets_it_aside(
    command: Command, promote: Promote, root: Path
) -> None:
    damage(root, promote(1))
    found = command("cache", "verify", "--root", root, "--deep")
    assert found.code == 1
    assert "the previous champion is current again" in found.out
    assert command("cache", "verify", "--root", root, "--deep", "--repair").code == 0
    assert command("cache", "gc", "--root", root).code == 0
    assert list((root / "champions" / "digits").iterdir()) == []


def test_training_says_what_was_decided_and_what_there_was_to_do(train: Command) -> None:
    trained = train("--promote")
    assert trained.code == 0
    assert "\nrefused: " in trained.out
    assert "30 or more to compare on" in trained.out
    printed = json.loads(train("--promote", "--json").out)
    assert (printed["promotion"]["decision"], printed["up_to_date"]) == ("refused", True)
    again = train("--promote").out
    assert "\nunchanged: " in again
    assert "30 or more to compare on" not in again
