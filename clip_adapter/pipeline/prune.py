"""Removes runs that are old and that nothing rests on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.pipeline.evidence import evidence_on
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
        n_cited: number of runs of that age that stay since a decision on a champion cites them.
        n_current: number of runs of that age that stay since they answer the last request for runs of
            their dataset.
    """

    removed: tuple[ChangedRows, ...]
    n_runs: int
    n_cited: int
    n_current: int


def prune_runs(root: Location, *, before: datetime, dry_run: bool) -> PrunedRuns:
    """Remove runs that started before a time, with their metrics, curves, predictions and splits.

    Runs stay that a decision on a champion cites, or that answer the last request for runs of their
    dataset, and so do all requests, extractions and decisions. A run that is asked for again is trained
    again. The row of a run goes first, by which the run counts as recorded, so that a run is always there
    completely or not at all; what a command that was killed left of it is found by the next.

    Args:
        root: folder or URL of the store.
        before: a time with a timezone.
        dry_run: only report what would be removed.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of runs is damaged; no more is removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    names = ("run_id", "started_at", "fingerprint", "dataset", "split_fingerprint")
    runs = read_rows(root, "runs", *names, schema=RUNS)
    old = runs.filter(pc.less(runs["started_at"], pa.scalar(before, RUNS.field("started_at").type)))
    decided = PromotionStore(root).datasets()
    cited = frozenset().union(*(evidence_on(root, name).run_ids for name in decided))
    current = _current(root, old)
    found = frozenset(old["run_id"].to_pylist())
    gone = found - cited - current
    left = runs.filter(pc.invert(is_in(runs["run_id"], gone)))
    kept_runs = frozenset(left["run_id"].to_pylist())
    kept_splits = frozenset(left["split_fingerprint"].to_pylist())
    gone_splits = frozenset(old["split_fingerprint"].to_pylist()) - kept_splits

    def among(key: str, values: frozenset[str]) -> Callable[[pa.Table], pa.ChunkedArray]:
        return lambda table: is_in(table[key], values)

    def not_among(key: str, values: frozenset[str]) -> Callable[[pa.Table], pa.ChunkedArray]:
        return lambda table: pc.invert(is_in(table[key], values))

    def folder(table: str) -> StoredFolder:
        return StoredFolder(root / "runs" / table, table)

    removed = list(drop_rows(folder("runs"), among("run_id", gone), dry_run=dry_run))
    for table in _BY_RUN:
        orphans = not_among("run_id", kept_runs)
        removed += drop_rows(folder(table), among("run_id", gone), orphans=orphans, dry_run=dry_run)
    key = "split_fingerprint"
    removed += drop_rows(
        folder("splits"),
        among(key, gone_splits),
        orphans=not_among(key, kept_splits),
        dry_run=dry_run,
    )
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
