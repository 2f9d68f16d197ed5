"""Maintenance: verify a store, merge its small files, remove what nothing refers to."""

import hashlib
from dataclasses import asdict, dataclass

import pyarrow as pa

from clip_adapter.errors import UnavailableError
from clip_adapter.file_lock import FileLock
from clip_adapter.pipeline.encoder_lock import lock_folder
from clip_adapter.pipeline.evidence import evidence_images
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import MaintainRequest, accepts
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.runs import RUN_TABLES, RunStoreError
from feature_cache import (
    FeatureCacheError,
    Location,
    NewerFormatError,
    StoredFolder,
    WrongSchemaError,
    compact_folder,
    drop_unreferenced,
    find_leftovers,
    inspect_store,
    list_files,
    remove_leftovers,
    stored_folders,
)

FILES_WORTH_MERGING = 5
"""Below, merging costs more than it saves: two files a night are merged twice a week."""
MANY_RUN_FILES = 64
"""Number of small files of a table of runs from which training merges them: a question takes 0.3 ms for each."""
SMALL_RUN_FILE_BYTES = 4 * 2**20
"""Size from which training leaves a file to maintenance, so that merging takes seconds and some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class VerifiedStore:
    """The result of inspecting a store.

    Attributes:
        n_files: number of files inspected.
        size_bytes: total size of all of them.
        damaged: path and reason of each damaged file.
        n_set_aside: number of damaged files that were set aside; the next run makes what they held.
    """

    n_files: int
    size_bytes: int
    damaged: tuple[str, ...]
    n_set_aside: int

    def refuse_damage(self) -> None:
        """Raise if there are damaged files that were not set aside.

        Raises:
            RunStoreError: there are such files.
        """
        left = len(self.damaged) - self.n_set_aside
        if left:
            shown = "; ".join(self.damaged[:3])
            raise RunStoreError(
                f"{left} of {self.n_files} files cannot be trusted: {shown}. Run `clip-adapter cache "
                "verify --deep --repair`, or this flow with `repair`, and the next run makes again "
                "what they held"
            )


@dataclass(frozen=True, kw_only=True)
class CompactedStore:
    """The result of merging small files.

    Attributes:
        n_folders: number of folders with something to merge.
        n_files_before: number of files that were merged.
        n_files_after: number of files that hold their rows now.
    """

    n_folders: int
    n_files_before: int
    n_files_after: int


@dataclass(frozen=True, kw_only=True)
class CollectedGarbage:
    """The result of removing what nothing refers to.

    Attributes:
        n_unfinished: files that dead writers left behind.
        n_unreferenced: features of images that no dataset's index names.
        n_set_aside: damaged files that were set aside, now or earlier; they are kept for inspection.
    """

    n_unfinished: int
    n_unreferenced: int
    n_set_aside: int


@dataclass(frozen=True, kw_only=True)
class Maintenance(TabularResult):
    """The result of maintaining a store.

    Attributes:
        verified: result of inspecting all files.
        compacted: result of merging small files.
        garbage: result of removing what nothing refers to.
    """

    verified: VerifiedStore
    compacted: CompactedStore
    garbage: CollectedGarbage

    @property
    def summary(self) -> str:
        """One line for a log."""
        return (
            f"{self.verified.n_files} files verified, {len(self.verified.damaged)} damaged, "
            f"{self.compacted.n_files_before} merged into {self.compacted.n_files_after}, "
            f"{self.garbage.n_unfinished} unfinished files removed"
        )

    def to_arrow(self) -> pa.Table:
        """What each step found and did, as one row.

        Returns:
            A column for every attribute of `VerifiedStore`, `CompactedStore` and
            `CollectedGarbage`, named after the step and the attribute, as `verified_n_files`.
            `verified_damaged` is a list of strings, the others are whole numbers.
        """
        row = {
            f"{step}_{name}": [value]
            for step, found in asdict(self).items()
            for name, value in found.items()
        }
        damaged = pa.array([list(self.verified.damaged)], pa.list_(pa.string()))
        return pa.table({**row, "verified_damaged": damaged})


@accepts(MaintainRequest)
def maintain(
    request: MaintainRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # as above
) -> Maintenance:
    """Verify, compact and clear up a store; other processes may read and write it at the same time.

    Damage is reported and does not raise; call `refuse_damage` of the result's `verified` to raise.

    Returns:
        What each of the three steps found and did.

    Raises:
        FeatureCacheError: an index that refers to features cannot be read.
    """
    root = request.location
    return Maintenance(
        verified=executor.call(
            verify_store,
            root=root,
            deep=request.deep,
            repair=request.repair,
            reporter=reporter,
        ),
        compacted=executor.call(compact_store, root=root, reporter=reporter),
        garbage=executor.call(collect_garbage, root=root, unreferenced=request.unreferenced),
    )


def verify_store(*, root: Location, deep: bool, repair: bool, reporter: Reporter) -> VerifiedStore:
    """Inspect every file, and set damaged files aside if `repair` is true.

    A file of a newer format is never set aside, nor one whose schema differs from the files beside
    it, since it is unknown which of them is wrong.

    Args:
        root: folder or URL of the store.
        deep: read every byte; else only the end of each file.
        repair: set damaged files aside, so that the next run makes what they held.
        reporter: where to report progress and damage.
    """
    n_files = size_bytes = n_set_aside = 0
    damaged = []
    with reporter.progress("verifying", total=_n_files(root), unit="files") as advance:
        for finding in inspect_store(root, deep=deep, schemas=RUN_TABLES):
            n_files, size_bytes = n_files + 1, size_bytes + finding.size_bytes
            advance(1)
            if finding.problem is None:
                continue
            damaged.append(str(finding.problem))
            if repair and not isinstance(finding.problem, NewerFormatError | WrongSchemaError):
                reporter.quarantine_file(finding.path, finding.problem)
                n_set_aside += 1
            else:
                reporter.log(f"damaged: {finding.problem}")
    return VerifiedStore(
        n_files=n_files, size_bytes=size_bytes, damaged=tuple(damaged), n_set_aside=n_set_aside
    )


def _n_files(root: Location) -> int:
    return sum(len(list_files(folder.path)) for folder in stored_folders(root))


def compact_store(*, root: Location, reporter: Reporter) -> CompactedStore:
    """Merge the small files of features and runs; others may read and write at the same time.

    Dataset indexes are not merged: an unchanged dataset adds no file.
    """

    def pass_over(_path: Location, error: FeatureCacheError) -> None:
        reporter.log(f"not merged: {error}")

    merged = [
        done
        for folder in stored_folders(root)
        if folder.has_features or folder.path.parent == root / "runs"
        if (done := compact_folder(folder, at_least=FILES_WORTH_MERGING, on_corruption=pass_over))
    ]
    return CompactedStore(
        n_folders=len(merged),
        n_files_before=sum(each.n_files_before for each in merged),
        n_files_after=sum(each.n_files_after for each in merged),
    )


def merge_run_files(*, root: Location, reporter: Reporter) -> None:
    """Merge the small files of runs where they are many, as many sweeps leave them.

    One process of a user and machine does so at a time; others pass on at once. The runs are recorded
    whether it succeeds or not: why not is reported, and the next call tries again.
    """

    def pass_over(_path: Location, error: FeatureCacheError) -> None:
        reporter.warn(f"not merged: {error}")

    name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    try:
        if lock := FileLock.acquire(lock_folder() / f"runs-{name}.lock"):
            try:
                for table in RUN_TABLES:
                    compact_folder(
                        StoredFolder(root / "runs" / table, table),
                        at_least=MANY_RUN_FILES,
                        below_bytes=SMALL_RUN_FILE_BYTES,
                        on_corruption=pass_over,
                    )
            finally:
                lock.release()
    except (OSError, UnavailableError) as error:
        reporter.warn(f"the small files of runs were not merged: {error}")


def collect_garbage(*, root: Location, unreferenced: bool) -> CollectedGarbage:
    """Remove unfinished files older than a day, and optionally unreferenced features.

    Args:
        root: folder or URL of the store.
        unreferenced: remove features of images that no index names, nor a champion's runs.

    Raises:
        CorruptFileError, NewerFormatError, MisplacedFileError: an index or a file of
            features is damaged, so that it is unknown what is referenced; nothing more is removed.
    """
    leftovers = find_leftovers(root)
    unfinished = [each for each in leftovers if each.kind == "unfinished"]
    remove_leftovers(unfinished)
    dropped = (
        drop_unreferenced(root, dry_run=False, keep=evidence_images(root)) if unreferenced else ()
    )
    return CollectedGarbage(
        n_unfinished=len(unfinished),
        n_unreferenced=sum(each.n_rows for each in dropped),
        n_set_aside=len(leftovers) - len(unfinished),
    )
