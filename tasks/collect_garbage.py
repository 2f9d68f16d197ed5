"""Remove what serves nobody from a store."""

from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from feature_cache import Location, drop_unreferenced, find_leftovers, remove_leftovers
from tasks.retries import PAUSES_SECONDS, RETRIES, when_transient

__all__ = ["CollectedGarbage", "collect_garbage"]


@dataclass(frozen=True, kw_only=True)
class CollectedGarbage:
    """What was removed.

    Attributes:
        n_unfinished: files that dead writers left behind.
        n_unreferenced: features of images that no dataset's index names.
        n_set_aside: damaged files that were set aside, now or earlier; they stay for a person.
    """

    n_unfinished: int
    n_unreferenced: int
    n_set_aside: int


@task(
    name="collect-garbage",
    cache_policy=NO_CACHE,
    result_serializer="json",
    # The store may lie in a network folder or an object store; what is gone is gone the next time.
    retries=RETRIES,
    retry_delay_seconds=PAUSES_SECONDS,
    retry_condition_fn=when_transient,
)
def collect_garbage(*, root: Location, unreferenced: bool) -> CollectedGarbage:
    """Remove unfinished files older than a day, and unreferenced features if that is asked for.

    Raises:
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError: an index or a file of
            features cannot be trusted, so what is referred to is not known; nothing more goes.
    """
    leftovers = find_leftovers(root)
    unfinished = [each for each in leftovers if each.sort == "unfinished"]
    remove_leftovers(unfinished)
    dropped = drop_unreferenced(root, dry_run=False) if unreferenced else ()
    return CollectedGarbage(
        n_unfinished=len(unfinished),
        n_unreferenced=sum(each.n_rows for each in dropped),
        n_set_aside=len(leftovers) - len(unfinished),
    )
