"""Removes runs that are old and that nothing rests on."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.pipeline.stored_rows import ChangedRows, drop_rows, is_in, read_rows, summed
from clip_adapter.runs import PromotionStore, RequestStore
from clip_adapter.runs.schemas import RUNS
from feature_cache import Location, StoredFolder

_BY_RUN = ("predictions", "metrics", "curves")


@dataclass(frozen=True, kw_only=True)
class PrunedRuns:
    """The result of removing old runs.

    Attributes:
        removed: rows that were removed, or would be.
        n_runs: number of runs among them.
        n_cited: number of old runs that stay since a decision on a champion cites them.
        n_current: number of old runs that stay since they answer the last request for runs of their
            dataset.
    """

    removed: tuple[ChangedRows, ...]
    n_runs: int
    n_cited: int
    n_current: int


def prune_runs(root: Location, *, before: datetime, dry_run: bool) -> PrunedRuns:
    """Remove runs that started before a time, with their metrics, curves, predictions and splits.

    Runs stay that a decision on a champion cites, be it a refusal, or that answer the last request for
    runs of their dataset, and so do all requests, extractions and decisions. A run that is asked for again
    is trained again. The row of a run goes first, by which the run counts as recorded, so that a run is
    always there completely or not at all; what a command that was killed left of it is found by the next.
    Splits go that no run has any more, in files that are older than a day: a training writes a split
    before the runs that have it.

    Args:
        root: folder or URL of the store.
        before: a time with a timezone.
        dry_run: only report what would be removed.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of runs is damaged; no more is removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    names = ("run_id", "started_at", "fingerprint", "dataset")
    runs = read_rows(root, "runs", *names, schema=RUNS)
    old = runs.filter(pc.less(runs["started_at"], pa.scalar(before, RUNS.field("started_at").type)))
    cited = frozenset(record.run_id for record in PromotionStore(root).records())
    current = _current(root, old)
    found = frozenset(old["run_id"].to_pylist())
    gone = found - cited - current
    kept = frozenset(runs["run_id"].to_pylist()) - gone

    def is_gone(table: pa.Table) -> pa.ChunkedArray:
        return is_in(table["run_id"], gone)

    def of_no_run(table: pa.Table) -> pa.ChunkedArray:
        return pc.invert(is_in(table["run_id"], kept))

    def split_of_no_run(table: pa.Table) -> pa.ChunkedArray:
        # Read again for each file: a run recorded meanwhile may have a split that is stored already.
        now = read_rows(root, "runs", "run_id", "split_fingerprint", schema=RUNS)
        kept_splits = now.filter(pc.invert(is_gone(now)))["split_fingerprint"].to_pylist()
        return pc.invert(is_in(table["split_fingerprint"], frozenset(kept_splits)))

    def folder(table: str) -> StoredFolder:
        return StoredFolder(root / "runs" / table, table)

    removed = list(drop_rows(folder("runs"), is_gone, dry_run=dry_run))
    for table in _BY_RUN:
        removed += drop_rows(folder(table), is_gone, orphans=of_no_run, dry_run=dry_run)
    removed += drop_rows(folder("splits"), orphans=split_of_no_run, dry_run=dry_run)
    return PrunedRuns(
        removed=summed(removed),
        n_runs=len(gone),
        n_cited=len(found & cited),
        n_current=len((found & current) - cited),
    )


def _current(root: Location, runs: pa.Table) -> frozenset[str]:
    """The runs that answer the last request for runs of their dataset, by each command and encoder."""
    current: set[str] = set()
    for dataset in runs["dataset"].unique().to_pylist():
        last = {
            (each.command, each.encoder): each
            for each in RequestStore(root).history(dataset)
            if each.run_ids or each.run_fingerprints
        }
        own = runs.filter(pc.equal(runs["dataset"], dataset))
        for request in last.values():
            answers = is_in(own["fingerprint"], frozenset(request.run_fingerprints))
            current |= {*own.filter(answers)["run_id"].to_pylist(), *request.run_ids}
    return frozenset(current)
