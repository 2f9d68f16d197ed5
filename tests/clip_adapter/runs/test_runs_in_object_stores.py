"""Runs and SQL over them, in every kind of root."""

from collections.abc import Callable

import pytest

from clip_adapter.runs import RunResult, RunStore, RunStoreError, query
from feature_cache import Location, compact_folder, list_files, stored_folders


def test_recorded_runs_are_seen_by_the_database(
    any_root: Location,
    result_of: Callable[..., RunResult],
) -> None:
    results = [result_of(number, accuracy=number / 4) for number in (1, 2, 3)]
    for result in results:
        RunStore(any_root).record([result])
    sql = "SELECT run_id, value FROM metrics WHERE name = 'accuracy' ORDER BY value"
    before = query(any_root, sql)
    assert before.column("value").to_pylist() == [0.25, 0.5, 0.75]
    for folder in stored_folders(any_root):
        compact_folder(folder)
    assert len(list_files(any_root / "runs" / "metrics")) == 1
    assert query(any_root, sql).equals(before)


def test_a_root_without_anything_is_missing(any_root: Location) -> None:
    with pytest.raises(RunStoreError):
        query(any_root, "SELECT 1")
