"""Errors about recorded runs: one for the package, and two that callers handle."""

from clip_adapter.errors import ClipAdapterError
from feature_cache import Location


class RunStoreError(ClipAdapterError, ValueError):
    """A record, a statement or a store that is missing or cannot be used; the message says what to do."""

    @classmethod
    def no_store(cls, root: Location) -> "RunStoreError":
        """The error for a root that does not exist."""
        return cls(
            f"no store at {root}: run `clip-adapter demo`, or name another root (--root, in Python root)"
        )

    @classmethod
    def no_champion(cls, dataset: str, *, refused: str = "") -> "RunStoreError":
        """The error for a dataset on which nothing was promoted.

        Args:
            dataset: name of the dataset.
            refused: reason of the last refusal, and which run was refused; empty if nothing was.
        """
        if refused:
            return cls(f"{dataset!r} has no champion, as the last candidate was refused: {refused}")
        return cls(
            f"{dataset!r} has no champion: train with --promote, which promotes the first "
            "that is proven better than zero-shot"
        )


class IncomparableRunsError(RunStoreError):
    """Two methods have no runs that were trained and tested on the same images."""


class DamagedChampionError(RunStoreError):
    """The file of a promoted classifier is damaged or missing."""
