"""Merge the small files of a store."""

from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from feature_cache import FeatureCacheError, Location, compact_folder, stored_folders
from tasks.progress import say
from tasks.retries import PAUSES_SECONDS, RETRIES, when_transient

__all__ = ["CompactedStore", "compact_store"]

MORE_THAN_A_FEW = 5
"""Below, merging costs more than it saves: two files a night are merged twice a week."""


@dataclass(frozen=True, kw_only=True)
class CompactedStore:
    """What merging came to.

    Attributes:
        n_folders: folders with something to merge.
        n_files_before: files that were merged.
        n_files_after: files that hold their rows now.
    """

    n_folders: int
    n_files_before: int
    n_files_after: int


@task(
    name="compact-store",
    cache_policy=NO_CACHE,
    result_serializer="json",
    # The store may lie in a network folder or an object store; half a compaction loses no row.
    retries=RETRIES,
    retry_delay_seconds=PAUSES_SECONDS,
    retry_condition_fn=when_transient,
)
def compact_store(*, root: Location) -> CompactedStore:
    """Merge the small files of features and runs; readers and writers may go on meanwhile.

    Dataset indexes stay as they are: the newest file of a dataset is its latest index, and an
    unchanged dataset adds none.
    """
    merged = [
        done
        for folder in stored_folders(root)
        if folder.has_features or folder.path.parent == root / "runs"
        if (done := compact_folder(folder, at_least=MORE_THAN_A_FEW, on_damage=_pass_over))
    ]
    return CompactedStore(
        n_folders=len(merged),
        n_files_before=sum(each.n_files_before for each in merged),
        n_files_after=sum(each.n_files_after for each in merged),
    )


def _pass_over(_path: Location, error: FeatureCacheError) -> None:
    say(f"not merged: {error}")
