"""Runs that an earlier version recorded are read beside new ones."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from clip_adapter.runs import RunRecord, query
from clip_adapter.runs.schemas import RUNS, STORED_RUNS
from feature_cache import write_table

FIRST_SETTINGS = ("residual_ratio", "reduction", "output_activation", "epochs")


def write_as_before(root: Path, run: RunRecord) -> None:
    """A row as it was before studies, joint candidates and all but four settings."""
    row = asdict(run)
    row["settings"] = {name: row["settings"][name] for name in FIRST_SETTINGS}
    row["candidates"] = [
        {"name": "residual_ratio", "value": 0.2, "validation_accuracy": 0.5, "validation_nll": 1.0}
    ]
    settings = pa.struct([RUNS.field("settings").type.field(name) for name in FIRST_SETTINGS])
    before = [field for field in STORED_RUNS if field.name not in {"tried", "study"}]
    schema = pa.schema(
        [field.with_type(settings) if field.name == "settings" else field for field in before]
    )
    table = pa.Table.from_pylist([row], schema=schema)
    write_table(root / "runs" / "runs", table, kind="runs")


def test_they_stand_beside_new_ones_with_their_candidates(
    tmp_path: Path, run_of: Callable[..., RunRecord]
) -> None:
    write_as_before(tmp_path, run_of(1))
    question = "select residual_ratio, recipe, study, candidates[1].settings as tried from runs"
    (row,) = query(tmp_path, question).to_pylist()
    assert (row["residual_ratio"], row["recipe"], row["study"]) == (0.2, None, None)
    assert dict(row["tried"]) == {"residual_ratio": 0.2}
