from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    ImagePredictions,
    RunRecord,
    RunSettings,
    RunStoreError,
    SplitImages,
    Versions,
)
from clip_adapter.runs.schemas import RUNS, SETTINGS


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        (RunRecord, RUNS.names),
        (RunSettings, [field.name for field in SETTINGS]),
        (Versions, [field.name for field in RUNS.field("versions").type]),
    ],
)
def test_a_record_has_a_field_for_every_column(record: type, columns: list[str]) -> None:
    assert [field.name for field in fields(record)] == columns


@pytest.mark.parametrize("run_id", ["", "../escape", "A" * 32, "0" * 31])
def test_a_run_id_is_32_hex_digits(run_of: Callable[..., RunRecord], run_id: str) -> None:
    with pytest.raises(RunStoreError, match="32 lower-case hex digits"):
        run_of(1, run_id=run_id).check()


def test_a_time_without_a_timezone_is_refused(run_of: Callable[..., RunRecord]) -> None:
    with pytest.raises(RunStoreError, match="no timezone"):
        run_of(1, started_at=datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)).check()


def test_selection_on_an_unknown_split_is_refused(run_of: Callable[..., RunRecord]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        run_of(1, selected_on="validatoin").check()


@pytest.mark.parametrize(("status", "error"), [("completed", "boom"), ("failed", None)])
def test_exactly_the_failed_runs_have_an_error(
    run_of: Callable[..., RunRecord], status: str, error: str | None
) -> None:
    with pytest.raises(RunStoreError, match="every failed run"):
        run_of(1, status=status, error=error).check()


def test_predictions_of_unequal_lengths_are_refused(
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    good = predictions_of(0, 1)
    with pytest.raises(RunStoreError, match="1 values of margin for 2 images"):
        ImagePredictions(
            image_sha256=good.image_sha256,
            label=good.label,
            predicted=good.predicted,
            confidence=good.confidence,
            margin=np.zeros(1),
        )


def test_a_digest_in_hex_is_refused() -> None:
    with pytest.raises(RunStoreError, match="64 bytes, expected 32"):
        SplitImages(image_sha256=[b"0" * 64], label=np.array([0]))


def test_optional_fields_are_exactly_the_columns_that_may_be_null() -> None:
    nullable = {field.name for field in RUNS if field.nullable}
    of_schema_2 = set(RUNS.names[RUNS.names.index("git_commit") + 1 :])
    assert nullable == {"seed", "tried", "study", "error", "git_commit"} | of_schema_2
    assert all(field.type != pa.null() for field in RUNS)


def test_a_setting_has_a_column_only_with_the_type_of_the_column() -> None:
    fits = {"alpha": 1, "epochs": 5, "branch": "both", "class_specific": True}
    others = {
        "alpha_every": 2.5,
        "views": True,
        "batch_size": 2**31,
        "beta": "sharp",
        "prompts": None,
        "text_weight": 0.3,
    }
    assert RunSettings.of(fits | others) == RunSettings(**fits)
