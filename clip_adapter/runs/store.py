"""Runs at rest: a few immutable files a batch, under `<root>/runs/<table>`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clip_adapter.runs import schemas, tables
from clip_adapter.runs.errors import RunStoreError
from clip_adapter.runs.records import RunResult
from feature_cache import Location, read_tables, write_table
from feature_cache.schemas import conform, pick

# In the order they are written: a run's row comes last and makes the rest of the run count.
_TABLES = (
    ("splits", tables.splits_table, schemas.SPLITS),
    ("predictions", tables.predictions_table, schemas.PREDICTIONS),
    ("curves", tables.curves_table, schemas.CURVES),
    ("metrics", tables.metrics_table, schemas.METRICS),
    ("runs", tables.runs_table, schemas.RUNS),
)


@dataclass(frozen=True)
class RunStore:
    """Where runs are recorded; any number of processes may record at once.

    Attributes:
        root: The folder of everything at rest; made when the first run is recorded.
    """

    root: Location

    def record(self, results: Sequence[RunResult]) -> list[Location]:
        """Write a batch of runs: all of them become visible at once, or none.

        Recording the same batch again writes nothing new.

        Returns:
            The files that hold the batch, at most one a table; none for an empty batch.

        Raises:
            RunStoreError: Two results carry the same run id.
            WrongSchemaError: A value is missing that every run must have.
            OSError: The disk refused; no run of the batch is visible.
        """
        _check_distinct(results)
        # Everything is checked before the first file is written.
        prepared = [
            (name, conform(build(results), schema, source=f"the {name} to record"))
            for name, build, schema in _TABLES
        ]
        return [
            write_table(self.root / "runs" / name, table, kind=name)
            for name, table in prepared
            if table.num_rows
        ]

    def completed(self, fingerprints: Iterable[str]) -> set[str]:
        """Those of the run fingerprints that a completed run already has, results and all.

        A run whose metrics, or predictions on the test split, are lost does not count: it is to be
        made again.

        Raises:
            CorruptFileError, NewerFormatError: A file of runs cannot be trusted or understood.
        """
        runs = self._read("runs", pick(schemas.RUNS, "run_id", "fingerprint", "status"))
        measured = self._read("metrics", pick(schemas.METRICS, "run_id"))
        judged = self._read("predictions", pick(schemas.PREDICTIONS, "run_id", "split"))
        # Earlier runs judged test images alone and do not say so.
        import pyarrow.compute as pc  # noqa: PLC0415  # 0.1 s, for whoever computes

        on_test = judged.filter(pc.equal(pc.fill_null(judged["split"], "test"), "test"))
        whole = _run_ids(measured) & _run_ids(on_test)
        done = {
            row["fingerprint"]
            for row in runs.to_pylist()
            if row["status"] == "completed" and row["run_id"] in whole
        }
        return done.intersection(fingerprints)

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        return read_tables(self.root / "runs" / name, kind=name, schema=schema)


def _run_ids(table: pa.Table) -> set[str]:
    return set(table["run_id"].unique().to_pylist())


def _check_distinct(results: Sequence[RunResult]) -> None:
    counts = Counter(result.run.run_id for result in results)
    repeated = sorted(run_id for run_id, count in counts.items() if count > 1)
    if repeated:
        raise RunStoreError(
            f"{len(repeated)} run ids occur more than once in a batch, the first is {repeated[0]}: "
            "give every execution an id of its own"
        )
