"""A store that a later version wrote to as well is read as far as this one knows it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_adapter.runs import (
    RUN_TABLES,
    ImagePredictions,
    PromotionRecord,
    PromotionStore,
    RequestRecord,
    RequestStore,
    RunResult,
    RunStore,
    SplitRecord,
    query,
    view_names,
)
from feature_cache import WrongSchemaError, inspect_store, list_files, read_table, write_table

ANSWERING = [
    view for view in view_names() if view not in {"images", "quarantine", "excluded", "files"}
]


def later(kind: pa.DataType) -> pa.DataType:
    """The type with a field that this version does not know in every struct of it."""
    if pa.types.is_struct(kind):
        return pa.struct([*(each.with_type(later(each.type)) for each in kind), ("new", pa.int8())])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, later(kind.item_type))
    return pa.list_(later(kind.value_type)) if pa.types.is_list(kind) else kind


def rewrite_as_later(root: Path, name: str) -> None:
    for path in list_files(root / "runs" / name):
        table = read_table(path, kind=name)
        schema = pa.schema([each.with_type(later(each.type)) for each in table.schema])
        written = table.cast(schema).append_column("unknown", pa.array(["?"] * table.num_rows))
        Path(str(path)).unlink()
        write_table(root / "runs" / name, written, kind=name)


@pytest.fixture(name="filled")
def _filled(  # noqa: PLR0917  # one fixture a table
    root: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
    split: SplitRecord,
    promote: Callable[..., PromotionRecord],
    ask_for: Callable[..., RequestRecord],
) -> Path:
    """A store with rows in every table of runs but `extractions`."""
    results = [
        replace(
            result_of(number, number / 10),
            predictions=predictions_of(number % 2),
            split=split,
            curves={"loss": [1.0]},
        )
        for number in (1, 2)
    ]
    RunStore(root).record(results)
    promote(1)
    ask_for(1, run_ids=(results[0].run.run_id,))
    return root


def answers(root: Path) -> dict[str, list[Any]]:
    return {view: query(root, f"FROM {view} ORDER BY ALL").to_pylist() for view in ANSWERING}


def test_unknown_columns_and_struct_fields_change_no_answer(filled: Path) -> None:
    before, history = answers(filled), PromotionStore(filled).history("digits")
    for name in RUN_TABLES:
        rewrite_as_later(filled, name)
    assert "new" in str(read_table(list_files(filled / "runs" / "runs")[0], kind="runs").schema)
    assert answers(filled) == before
    assert all(before[view] for view in ("leaderboard", "per_class", "champion", "splits"))
    assert PromotionStore(filled).history("digits") == history
    assert RequestStore(filled).next_sequence("digits") == 2
    assert RunStore(filled).completed(["fingerprint-1"], dataset="digits") == {"fingerprint-1"}
    found = inspect_store(filled, deep=True, schemas=RUN_TABLES)
    assert {each.problem for each in found} == {None}


def test_a_column_of_another_type_is_named_with_both_versions_in_a_few_words(
    filled: Path,
) -> None:
    [path] = list_files(filled / "runs" / "runs")
    table = read_table(path, kind="runs")
    place = table.schema.names.index("settings")
    wrong = pa.array(["{}"] * table.num_rows)
    write_table(path.parent, table.set_column(place, "settings", wrong), kind="runs")
    with pytest.raises(WrongSchemaError, match=r"column settings of .* is string") as raised:
        query(filled, "FROM leaderboard")
    assert len(str(raised.value).replace(str(path.parent), "")) < 400
    for deep in (False, True):
        problems = [each.problem for each in inspect_store(filled, deep=deep, schemas=RUN_TABLES)]
        assert [str(each) for each in problems if each] == [str(raised.value)]
