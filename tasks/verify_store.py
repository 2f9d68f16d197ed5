"""Is every file of a store what was once written?"""

from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.errors import ClipAdapterError
from clip_adapter.runs import RUN_TABLES
from feature_cache import (
    FeatureCacheError,
    Location,
    NewerFormatError,
    WrongSchemaError,
    inspect_store,
    storage,
    stored_folders,
)
from feature_cache.files import is_final
from tasks.damage import set_aside_and_say
from tasks.progress import say, track
from tasks.retries import PAUSES_SECONDS, RETRIES, when_transient

__all__ = ["DamagedStoreError", "VerifiedStore", "verify_store"]


class DamagedStoreError(ClipAdapterError, RuntimeError):
    """A store holds files that cannot be trusted, and nobody was asked to set them aside."""


@dataclass(frozen=True, kw_only=True)
class VerifiedStore:
    """What an inspection of a store found.

    Attributes:
        n_files: files that were looked at.
        size_bytes: of all of them.
        damaged: for each that cannot be trusted, its path and why.
        n_set_aside: how many of these nobody reads any more; the next run makes what they held.
    """

    n_files: int
    size_bytes: int
    damaged: tuple[str, ...]
    n_set_aside: int

    def refuse_damage(self) -> None:
        """Raise if there are files that cannot be trusted and are still read.

        Raises:
            DamagedStoreError: there are.
        """
        left = len(self.damaged) - self.n_set_aside
        if left:
            shown = "; ".join(self.damaged[:3])
            raise DamagedStoreError(
                f"{left} of {self.n_files} files cannot be trusted: {shown}. Run `clip-adapter cache "
                "verify --deep --repair`, or this flow with `repair`, and the next run makes again "
                "what they held"
            )


@task(
    name="verify-store",
    cache_policy=NO_CACHE,
    result_serializer="json",
    # The store may lie in a network folder or an object store; nothing is changed by looking.
    retries=RETRIES,
    retry_delay_seconds=PAUSES_SECONDS,
    retry_condition_fn=when_transient,
)
def verify_store(*, root: Location, deep: bool, repair: bool) -> VerifiedStore:
    """Look at every file, and set aside the damaged ones if that is asked for.

    Not what a newer program wrote, and not what merely differs from the files beside it: which of
    them is wrong, nothing tells.

    Args:
        root: of everything at rest.
        deep: read every byte, else the end of each file.
        repair: set damaged files aside, so that the next run makes what they held.
    """
    n_files = size_bytes = n_set_aside = 0
    damaged = []
    with track("verifying", total=_n_files(root), unit="files") as advance:
        for finding in inspect_store(root, deep=deep, schemas=RUN_TABLES):
            n_files, size_bytes = n_files + 1, size_bytes + finding.size_bytes
            advance(1)
            if finding.problem is None:
                continue
            damaged.append(str(finding.problem))
            if repair and _is_certain(finding.problem):
                set_aside_and_say(finding.path, finding.problem)
                n_set_aside += 1
            else:
                say(f"damaged: {finding.problem}")
    return VerifiedStore(
        n_files=n_files, size_bytes=size_bytes, damaged=tuple(damaged), n_set_aside=n_set_aside
    )


def _n_files(root: Location) -> int:
    return sum(
        is_final(entry.name)
        for folder in stored_folders(root)
        for entry in storage.list_entries(folder.path)
    )


def _is_certain(problem: FeatureCacheError) -> bool:
    return not isinstance(problem, NewerFormatError | WrongSchemaError)
