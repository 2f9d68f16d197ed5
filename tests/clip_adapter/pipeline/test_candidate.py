"""Which run of a sweep is compared with the champion."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clip_adapter.datasets import FewShotSplit
from clip_adapter.methods import create_method
from clip_adapter.pipeline.candidate import check_can_promote, choose_candidate
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.runs import RunStoreError

NO_ROWS = np.zeros(0, dtype=np.int64)


def plan(method: str, shots: int, seed: int) -> RunSpec:
    return RunSpec(
        method=create_method(method),
        split=FewShotSplit(shots, seed, train_rows=NO_ROWS, val_rows=NO_ROWS),
        split_fingerprint="split",
        settings_fingerprint="settings",
        fingerprint=f"{method} {shots} {seed}",
    )


Measured = tuple[RunSpec, float | None, float | None]


def choose(
    monkeypatch: pytest.MonkeyPatch, *validated: Measured, held_out: tuple[Measured, ...] = ()
) -> Any:
    """The run that is chosen among runs with those accuracies and NLLs."""
    columns = ("validation_accuracy", "validation_nll", "held_out_accuracy", "held_out_nll")
    rows = [
        dict.fromkeys(columns)
        | {"fingerprint": each.fingerprint, "run_id": each.fingerprint}
        | {f"{images}_accuracy": right, f"{images}_nll": nll}
        for images, measured in (("validation", validated), ("held_out", held_out))
        for each, right, nll in measured
    ]
    monkeypatch.setattr(
        "clip_adapter.pipeline.candidate.query", lambda *_: pa.Table.from_pylist(rows)
    )
    specs = [plan("zero-shot", 1, 1), *(each for each, *_ in (*validated, *held_out))]
    return choose_candidate(Path(), specs, dataset="pets")


def test_the_best_mean_over_seeds_is_chosen_and_of_it_the_first_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The best single seed is the probe's, and the best of the adapter's is the second."""
    chosen = choose(
        monkeypatch,
        (plan("linear-probe", 4, 1), 1.0, 0.1),
        (plan("linear-probe", 4, 2), 0.5, 0.1),
        (plan("clip-adapter", 4, 1), 0.75, 0.1),
        (plan("clip-adapter", 4, 2), 0.875, 0.1),
    )
    assert chosen[1] == "clip-adapter 4 1"


def test_only_the_largest_number_of_shots_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choose(
        monkeypatch,
        (plan("linear-probe", 1, 1), 1.0, 0.1),
        (plan("clip-adapter", 4, 1), 0.5, 0.1),
    )
    assert chosen[1] == "clip-adapter 4 1"


def test_of_equals_the_lower_nll_is_chosen_then_the_first_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe, adapter = plan("linear-probe", 4, 1), plan("clip-adapter", 4, 1)
    assert choose(monkeypatch, (probe, 0.5, 0.2), (adapter, 0.5, 0.1))[0] == adapter
    assert choose(monkeypatch, (probe, 0.5, 0.1), (adapter, 0.5, 0.1))[0] == probe


def test_without_validation_images_held_out_shots_rank_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probe, adapter = plan("linear-probe", 4, 1), plan("clip-adapter", 4, 1)
    chosen = choose(monkeypatch, held_out=((probe, 0.5, 0.1), (adapter, 0.75, 0.1)))
    assert chosen[0] == adapter
    assert "the candidate is the best on held-out shots" in capsys.readouterr().err


def test_validation_and_held_out_shots_are_never_mixed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probe, adapter = plan("linear-probe", 4, 1), plan("clip-adapter", 4, 1)
    chosen = choose(monkeypatch, (probe, 0.5, 0.1), held_out=((adapter, 0.75, 0.1),))
    assert chosen[0] == probe
    assert "on which clip-adapter was not measured and takes no part" in capsys.readouterr().err


def test_a_single_method_is_the_candidate_whatever_is_recorded_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (plan("gda", 4, seed) for seed in (1, 2))
    chosen = choose(monkeypatch, (first, None, None), (second, None, None))
    assert chosen[0] == first


def test_of_several_methods_that_nothing_ranks_none_is_the_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown = [(plan(name, 4, 1), None, None) for name in ("gda", "lp++")]
    with pytest.raises(
        RunStoreError, match=r"which of gda, lp\+\+ is best, and test images may not"
    ):
        choose(monkeypatch, *unknown)


def test_without_runs_on_record_there_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "clip_adapter.pipeline.candidate.query",
        lambda *_: pa.table({"fingerprint": pa.array([], pa.string())}),
    )
    with pytest.raises(RunStoreError, match="none of the 1 runs with 4 shots"):
        choose_candidate(Path(), [plan("linear-probe", 4, 1)], dataset="pets")


def test_a_sweep_without_a_method_that_learns_cannot_promote() -> None:
    with pytest.raises(RunStoreError, match="of zero-shot none learns"):
        check_can_promote([create_method("zero-shot")])
    names = ("zero-shot", "linear-probe")
    check_can_promote(create_method(name) for name in names)


def test_auto_is_the_candidate_where_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe's score is of the images that chose its settings."""
    chosen = choose(
        monkeypatch,
        (plan("linear-probe", 4, 1), 1.0, 0.1),
        (plan("auto", 4, 1), 0.5, 0.1),
        (plan("auto", 4, 2), 0.9, 0.1),
    )
    assert chosen[1] == "auto 4 1"
