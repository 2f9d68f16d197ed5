"""What changed, what was saved, and which images are where twice, from records whose answers are known."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_adapter.runs import (
    EvaluatedOn,
    ExtractionRecord,
    RunResult,
    RunStore,
    SplitRecord,
    connect,
    query,
    record_extraction,
)
from feature_cache import IndexStore
from feature_cache.indexes import INDEX_SCHEMA, QUARANTINE_SCHEMA

MakeResult = Callable[..., RunResult]
AskFor = Callable[..., Any]
START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def rows(root: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(root, sql).to_pylist()
    return found


def test_a_change_is_against_the_last_request_with_the_same_settings(
    root: Path, result_of: MakeResult, ask_for: AskFor
) -> None:
    of_seed = {"seed": 1, "encoder": "encoder"}
    old, new = (
        result_of(1, 0.5, **of_seed),
        result_of(2, 0.75, **of_seed, index_fingerprint="later"),
    )
    other = result_of(3, 0.25, **of_seed, method="gda")
    RunStore(root).record([old, new, other])
    ask_for(1, run_ids=(old.run.run_id, other.run.run_id))
    ask_for(2, run_ids=(other.run.run_id,))
    ask_for(3, run_ids=(new.run.run_id, other.run.run_id), index_fingerprint="later")
    found = {row["method"]: row for row in rows(root, "FROM changes")}
    changed = found["clip-adapter"]
    assert (changed["change"], changed["sequence_before"], changed["sequence"]) == ("changed", 1, 3)
    assert (changed["accuracy_before"], changed["accuracy"]) == (0.5, 0.75)
    assert (changed["difference"], changed["n_other_runs"], changed["other_images"]) == (
        0.25,
        1,
        True,
    )
    unchanged = found["gda"]
    assert (unchanged["change"], unchanged["sequence_before"]) == ("unchanged", 2)
    assert (unchanged["difference"], unchanged["n_other_runs"]) == (0.0, 0)


def test_what_is_asked_for_first_is_new(root: Path, result_of: MakeResult, ask_for: AskFor) -> None:
    runs = [result_of(number, number / 4) for number in (1, 2)]
    RunStore(root).record(runs)
    ask_for(1, run_fingerprints=tuple(each.run.fingerprint for each in runs))
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["seeds"], row["seeds_before"]) == ("new", 2, 0)
    assert row["accuracy"] == pytest.approx(0.375)
    assert row["accuracy_before"] is row["difference"] is row["sequence_before"] is None


def test_a_run_that_was_trained_again_is_beside_the_one_before_it(
    root: Path, result_of: MakeResult, ask_for: AskFor
) -> None:
    """`train --retrain` records its request before it trains, and once more with the new runs."""
    twins = [
        result_of(
            number, accuracy, seed=1, fingerprint="twin", started_at=START + timedelta(days=number)
        )
        for number, accuracy in ((1, 0.5), (2, 0.9))
    ]
    RunStore(root).record(twins)
    ask_for(1, run_fingerprints=("twin",))
    ask_for(2, run_fingerprints=("twin",))
    ask_for(3, run_fingerprints=("twin",), run_ids=(twins[1].run.run_id,))
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["seeds"], row["n_other_runs"]) == ("changed", 1, 1)
    assert (row["accuracy_before"], row["accuracy"]) == (0.5, 0.9)
    ask_for(4, run_fingerprints=("twin",))
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["accuracy_before"], row["accuracy"]) == ("unchanged", 0.9, 0.9)


def test_a_request_names_one_run_in_place_of_another_with_its_fingerprint(
    root: Path, result_of: MakeResult, ask_for: AskFor
) -> None:
    twins = [
        result_of(
            number, accuracy, seed=1, fingerprint="twin", started_at=START + timedelta(days=number)
        )
        for number, accuracy in ((1, 0.5), (2, 0.9))
    ]
    RunStore(root).record(twins)
    ask_for(1, run_fingerprints=("twin",), run_ids=(twins[0].run.run_id,))
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["seeds"], row["accuracy"]) == ("new", 1, 0.5)


def test_of_two_requests_at_once_the_one_with_the_greater_id_is_the_last(
    root: Path, result_of: MakeResult, ask_for: AskFor
) -> None:
    runs = [result_of(1, 0.5, seed=1), result_of(2, 0.75, seed=1)]
    RunStore(root).record(runs)
    ask_for(7, sequence=1, run_ids=(runs[1].run.run_id,))
    ask_for(3, sequence=1, run_ids=(runs[0].run.run_id,))
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["seeds"], row["accuracy_before"]) == ("changed", 1, 0.5)
    assert (row["accuracy"], row["sequence_before"], row["sequence"]) == (0.75, 1, 1)


def test_a_request_without_runs_changes_nothing(
    root: Path, result_of: MakeResult, ask_for: AskFor
) -> None:
    run = result_of(1, 0.5)
    RunStore(root).record([run])
    ask_for(1, run_fingerprints=(run.run.fingerprint,))
    ask_for(2, command="extract")
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["sequence"]) == ("new", 1)


def test_a_change_is_against_a_request_with_the_same_protocol(
    root: Path, result_of: MakeResult, ask_for: AskFor
) -> None:
    runs = [result_of(1, 0.5, seed=1), result_of(2, 0.75, seed=1, protocol="base-to-new")]
    RunStore(root).record(runs)
    for number, result in enumerate(runs, 1):
        ask_for(number, run_ids=(result.run.run_id,))
    (row,) = rows(root, "FROM changes")
    assert (row["change"], row["protocol"], row["accuracy"]) == ("new", "base-to-new", 0.75)


def extraction(root: Path, number: int, **fields: Any) -> None:
    values: dict[str, Any] = {
        "extraction_id": f"{number:032x}",
        "started_at": START + timedelta(hours=number),
        "dataset": "digits",
        "index_fingerprint": "index",
        "encoder": "encoder",
        "model": "glyphs",
        "device": "cpu",
        "n_encoded": 0,
        "n_reused": 0,
        "seconds": 0.0,
    }
    record_extraction(root, ExtractionRecord(**{**values, **fields}))


def test_hours_are_saved_at_the_rate_of_the_device_used_last(root: Path) -> None:
    extraction(root, 1, n_encoded=1000, seconds=100.0)  # 10 a second
    extraction(root, 2, n_encoded=3600, seconds=36.0, device="cuda")  # 100 a second
    extraction(root, 3, n_encoded=5, n_reused=100, seconds=5.0, device="cuda")  # too few for a rate
    extraction(root, 4, n_reused=720_000, device="")
    extraction(root, 5, n_reused=7, device="", dataset="letters", encoder="other")
    found = {row["dataset"]: row for row in rows(root, "FROM costs")}
    digits = found["digits"]
    assert (digits["n_encoded"], digits["n_reused"]) == (4605, 720_100)
    assert digits["images_per_second"] == 100
    assert digits["hours_saved"] == pytest.approx(720_100 / 100 / 3600)
    assert digits["hours_encoded"] == pytest.approx(141 / 3600)
    assert found["letters"]["n_reused"] == 7
    assert found["letters"]["hours_saved"] is None


def write_index(root: Path, dataset: str, images: dict[bytes, str]) -> None:
    plain = {"label": 0, "class_name": "zero", "width": 8, "height": 8, "n_bytes": 64}
    state = {"dataset": dataset, "index_fingerprint": f"index-{dataset}"}
    index = pa.Table.from_pylist(
        [
            {"row": number, "image_sha256": digest, "path": f"{number}.png", "split": split}
            | plain
            | state
            for number, (digest, split) in enumerate(images.items())
        ],
        schema=INDEX_SCHEMA,
    )
    IndexStore(root, dataset).write(index, QUARANTINE_SCHEMA.empty_table())


def test_a_test_image_that_trained_is_a_leak(
    root: Path, result_of: MakeResult, split: SplitRecord, ask_for: AskFor
) -> None:
    trained, *others = split.train.image_sha256
    write_index(root, "digits", {trained: "test", others[0]: "train", bytes(32): "test"})
    write_index(root, "letters", {bytes(32): "train"})
    ask_for(1, index_fingerprint="index-digits")
    of_split = {"split_fingerprint": split.split_fingerprint, "index_fingerprint": "index-digits"}
    # In an earlier state the image may have been in another split.
    earlier = EvaluatedOn(dataset="digits", index_fingerprint="earlier")
    letters = EvaluatedOn(dataset="letters", index_fingerprint="index-letters")
    results = [
        result_of(1, **of_split),
        result_of(2, **of_split | {"index_fingerprint": "earlier"}),
        result_of(3, **of_split, tested_on=letters, protocol="cross-dataset"),
        result_of(4, **of_split, tested_on=earlier, protocol="domain-shift"),
    ]
    RunStore(root).record([replace(each, split=split) for each in results])
    with connect(root) as database:
        found = database.query("FROM leaks ORDER BY dataset, image_sha256").to_pylist()
    leaks = {(row["dataset"], row["image_sha256"]): row for row in found}
    assert leaks.keys() == {
        ("digits", trained.hex()),
        ("digits", bytes(32).hex()),
        ("letters", bytes(32).hex()),
    }
    assert leaks["digits", trained.hex()]["n_runs_trained"] == 1
    assert leaks["digits", trained.hex()]["n_places"] == 1
    assert leaks["digits", bytes(32).hex()]["n_runs_trained"] == 0
    assert leaks["letters", bytes(32).hex()]["n_places"] == 2
