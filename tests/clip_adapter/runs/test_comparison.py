"""Comparing two methods of a store, and refusing what cannot be compared."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    Comparison,
    ImagePredictions,
    IncomparableRunsError,
    RunResult,
    RunStore,
    RunStoreError,
    SplitRecord,
    compare_methods,
    query,
)

LATER = datetime(2026, 11, 24, tzinfo=UTC)
BOTH = ("clip-adapter", "linear-probe")

Put = Callable[..., RunResult]
Compare = Callable[..., Comparison]


@pytest.fixture(name="put")
def _put(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> Put:
    """Record a run: its number, what it predicted, of images that are all of class 0."""

    def put(number: int, *predicted: int, **fields: Any) -> RunResult:
        result = replace(result_of(number, **fields), predictions=predictions_of(*predicted))
        RunStore(tmp_path).record([result])
        return result

    return put


@pytest.fixture(name="compared")
def _compared(tmp_path: Path) -> Compare:
    return partial(compare_methods, tmp_path, methods=BOTH, dataset="digits", shots=4)


def test_the_images_of_every_common_seed_are_paired(put: Put, compared: Compare) -> None:
    for seed in (1, 2):
        put(seed, 0, 0, 0, 1, seed=seed)
        put(10 + seed, 0, 1, 1, 1, seed=seed, method="linear-probe")
    put(3, 1, 1, 1, 1, seed=3)  # the other method has no such seed
    found = compared()
    assert (found.seeds, found.shots, found.paired.n_images) == ((1, 2), 4, 4)
    assert (found.paired.accuracy_a, found.paired.accuracy_b) == (0.75, 0.25)
    assert (found.paired.wins, found.paired.ties, found.paired.losses) == (2, 2, 0)


def test_a_method_without_shots_takes_part_at_every_seed(put: Put, compared: Compare) -> None:
    put(1, 0, 0, seed=1)
    put(2, 0, 1, seed=2)
    put(3, 1, 1, method="zero-shot", shots=0, seed=None, split_fingerprint="")
    found = compared(methods=("clip-adapter", "zero-shot"))
    assert found.seeds == (1, 2)
    assert found.paired.seed_differences == (1.0, 0.5)
    assert compared(methods=("zero-shot", "zero-shot")).seeds == (None,)


@pytest.mark.parametrize(
    ("training_images", "same"), [([(7, 8), (8, 7)], True), ([(7, 8), (7, 9)], False)]
)
def test_seeds_that_train_on_the_same_images_are_no_draws_of_them(
    *,
    tmp_path: Path,
    put: Put,
    compared: Compare,
    splits_of: Callable[..., list[SplitRecord]],
    training_images: list[tuple[int, ...]],
    same: bool,
) -> None:
    for split in splits_of(*training_images):
        for number, method in enumerate(BOTH):
            result = put(
                10 * number + split.seed,
                *(number, 0, split.seed - 1),
                seed=split.seed,
                method=method,
                split_fingerprint=split.split_fingerprint,
            )
            RunStore(tmp_path).record([replace(result, split=split)])
    put(3, 1, 1, 1, method="zero-shot", shots=0, seed=None, split_fingerprint="")
    for methods in (BOTH, ("clip-adapter", "zero-shot"), ("zero-shot", "linear-probe")):
        found = compared(methods=methods).paired
        assert found.same_training_images == same
        assert ("same images" in found.scope) == same


def test_runs_without_recorded_splits_are_draws(put: Put, compared: Compare) -> None:
    for seed in (1, 2):
        put(seed, 0, 0, seed=seed)
        put(10 + seed, 0, 1, seed=seed, method="linear-probe")
    assert not compared().paired.same_training_images


def test_the_latest_run_of_a_seed_is_the_one_that_counts(put: Put, compared: Compare) -> None:
    put(1, 1, 1, seed=1)
    put(2, 0, 0, seed=1, started_at=LATER)
    put(3, 0, 1, seed=1, method="linear-probe")
    assert compared().paired.accuracy_a == 1.0


def test_runs_without_a_common_seed_are_not_compared(put: Put, compared: Compare) -> None:
    put(1, 0, 0, seed=1)
    put(2, 0, 0, seed=2, method="linear-probe")
    with pytest.raises(IncomparableRunsError, match=r"no seed in common \(1 and 2\)"):
        compared()


def test_runs_that_learned_from_other_images_are_not_compared(put: Put, compared: Compare) -> None:
    put(1, 0, 0, seed=1)
    put(2, 0, 0, seed=1, method="linear-probe", split_fingerprint="published")
    with pytest.raises(IncomparableRunsError, match="different images at every seed"):
        compared()


@pytest.mark.parametrize("predicted", [(0, 0, 0), (0,)])
def test_runs_with_other_test_images_are_not_compared(
    put: Put, compared: Compare, predicted: tuple[int, ...]
) -> None:
    put(1, 0, 0, seed=1)
    put(2, *predicted, seed=1, method="linear-probe")
    with pytest.raises(IncomparableRunsError, match="not tested on the same images"):
        compared()


def test_runs_with_other_labels_of_the_images_are_not_compared(
    tmp_path: Path, put: Put, compared: Compare
) -> None:
    first = put(1, 0, 0, seed=1)
    assert first.predictions is not None
    relabelled = replace(first.predictions, label=np.array([0, 1]))
    other = replace(first.run, run_id="f" * 32, method="linear-probe")
    RunStore(tmp_path).record([RunResult(run=other, predictions=relabelled)])
    with pytest.raises(IncomparableRunsError, match="with the same labels"):
        compared()


def test_a_run_whose_predictions_are_lost_is_not_compared(
    tmp_path: Path, put: Put, compared: Compare, result_of: Callable[..., RunResult]
) -> None:
    put(1, 0, 0, seed=1)
    RunStore(tmp_path).record([result_of(2, seed=1, method="linear-probe")])
    with pytest.raises(IncomparableRunsError, match="predictions of 1 run"):
        compared()


def test_settings_are_named_where_there_are_several(put: Put, compared: Compare) -> None:
    put(1, 0, 0, seed=1, settings_fingerprint="1111111122")
    put(2, 0, 1, seed=1, settings_fingerprint="2222222233")
    put(3, 1, 1, seed=1, method="linear-probe")
    with pytest.raises(
        RunStoreError,
        match=r"'clip-adapter \(settings 11111111\)', 'clip-adapter \(settings 22222222\)'",
    ):
        compared()
    found = compared(methods=("clip-adapter@2222", "linear-probe"))
    assert found.paired.accuracy_a == 0.5
    same = compared(methods=("clip-adapter (settings 22222222)", "linear-probe"))
    assert same.a == found.a
    with pytest.raises(UnknownNameError, match=r"clip-adapter \(settings 11111111\)"):
        compared(methods=("clip-adapter@33", "linear-probe"))


def test_a_model_is_named_where_there_are_several(put: Put, compared: Compare) -> None:
    for encoder, model in (("aaaa", "glyphs"), ("bbbb", "ViT")):
        number = 1 if model == "glyphs" else 2
        put(number, 0, 0, seed=1, encoder=encoder, model=model)
        put(10 + number, 0, 1, seed=1, encoder=encoder, model=model, method="linear-probe")
    with pytest.raises(RunStoreError, match=r"glyphs \(aaaa\), ViT \(bbbb\)"):
        compared()
    assert compared(model="ViT").a.last.encoder == compared(model="bb").a.last.encoder == "bbbb"
    with pytest.raises(UnknownNameError, match="glyphs"):
        compared(model="glyph")


def test_what_is_not_there_is_said_with_what_is(put: Put, compared: Compare) -> None:
    put(1, 0, 0, seed=1)
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        compared(dataset="digit")
    with pytest.raises(
        UnknownNameError, match="unknown method with runs at these shots 'linear-probe'"
    ):
        compared()
    with pytest.raises(
        UnknownNameError, match="unknown number of shots with runs '8': choose one of: 4"
    ):
        compared(shots=8)


def test_without_a_store_nothing_is_compared(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError):
        compare_methods(tmp_path / "nowhere", BOTH, dataset="digits", shots=4)


def test_an_image_that_occurs_twice_is_paired_with_itself(
    tmp_path: Path, put: Put, compared: Compare
) -> None:
    first = put(1, 0, 1, 0, seed=1, started_at=LATER - timedelta(days=9))
    assert first.predictions is not None
    same = replace(first.predictions, image_sha256=[bytes(32)] * 3)
    runs = [
        replace(first.run, run_id=digit * 32, method=method, started_at=LATER)
        for digit, method in (("d", "clip-adapter"), ("e", "linear-probe"))
    ]
    RunStore(tmp_path).record([RunResult(run=run, predictions=same) for run in runs])
    assert (compared().paired.n_images, compared().paired.ties) == (3, 3)


def test_two_names_of_an_encoder_are_one_configuration_in_sql_as_well(
    tmp_path: Path, put: Put, compared: Compare
) -> None:
    for seed, name in ((1, "glyphs"), (2, "the same glyphs")):
        put(seed, 0, 0, 0, 1, seed=seed, model=name, started_at=LATER + timedelta(days=seed))
        put(10 + seed, 0, seed - 1, 1, 1, seed=seed, model=name, method="linear-probe")
    found = compared()
    sql = "FROM paired WHERE method_a = 'clip-adapter' AND shots = 4"
    (row,) = query(tmp_path, sql).to_pylist()
    assert (row["model"], tuple(row["seeds"])) == ("the same glyphs", found.seeds)
    for name in ("low", "high", "p_value", "n_images", "wins", "losses"):
        assert row[name] == getattr(found.paired, name)
    classes = "FROM per_class WHERE method = 'clip-adapter'"
    (row,) = query(tmp_path, classes).to_pylist()
    assert (row["model"], row["n"], row["recall"]) == ("the same glyphs", 8, 0.75)
    counts = query(tmp_path, "FROM confusion WHERE method = 'clip-adapter' ORDER BY n").to_pylist()
    assert [(row["predicted"], row["n"]) for row in counts] == [(1, 2), (0, 6)]


def test_runs_whose_predictions_are_lost_are_no_pair_in_sql(
    tmp_path: Path, put: Put, result_of: Callable[..., RunResult]
) -> None:
    put(1, 0, 0, seed=1)
    put(2, 0, 1, seed=2)
    put(11, 0, 1, seed=1, method="linear-probe")
    put(21, 1, 1, seed=1, method="gda")
    RunStore(tmp_path).record([result_of(12, seed=2, method="linear-probe")])
    pairs = query(tmp_path, "SELECT method_b FROM paired WHERE method_a = 'clip-adapter'")
    assert pairs["method_b"].to_pylist() == ["gda"]
