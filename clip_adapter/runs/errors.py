"""What can go wrong when runs are recorded or asked about."""

from clip_adapter.errors import ClipAdapterError
from feature_cache import Location


class AmbiguousRunsError(ClipAdapterError, LookupError):
    """Runs of several settings or encoders answer to a name."""


class IncomparableRunsError(ClipAdapterError, ValueError):
    """Two runs that did not do the same thing, so that no difference can be told from them."""


class InvalidRecordError(ClipAdapterError, ValueError):
    """A run that contradicts itself, so nothing of it is written."""


class QueryError(ClipAdapterError, ValueError):
    """A question that cannot be answered: not a question, misspelt, or stopped."""


class MissingRootError(ClipAdapterError, FileNotFoundError):
    """There is no store where one was expected.

    Attributes:
        root: The folder that was looked for.
    """

    def __init__(self, root: Location) -> None:
        super().__init__(root)
        self.root = root

    def __str__(self) -> str:
        """Name the folder and the way to a store."""
        return f"no store at {self.root}: run `clip-adapter demo` or pass --root"


class RollbackError(ClipAdapterError, ValueError):
    """A roll back that would change nothing, or to nowhere."""


class NoChampionError(ClipAdapterError, LookupError):
    """Nothing was promoted for a dataset, so that zero-shot reigns.

    Attributes:
        dataset: Its name in the store.
    """

    def __init__(self, dataset: str) -> None:
        super().__init__(dataset)
        self.dataset = dataset

    def __str__(self) -> str:
        """Name the dataset and the way to a champion."""
        return (
            f"{self.dataset!r} has no champion: train with --promote, which promotes the first "
            "that is proven better than zero-shot"
        )


class DamagedChampionError(ClipAdapterError, ValueError):
    """The file of a promoted classifier is not as it was written, or not there.

    Attributes:
        promotion: The id of the promotion.
        path: The file.
        reason: What gave it away.
    """

    def __init__(self, promotion: str, path: str, reason: str) -> None:
        super().__init__(promotion, path, reason)
        self.promotion, self.path, self.reason = promotion, path, reason

    def __str__(self) -> str:
        """Name the file, what is wrong with it and what makes it again."""
        return (
            f"the classifier of promotion {self.promotion[:8]}, {self.path}, cannot be used: "
            f"{self.reason}. The champion before it reigns: put the file back from a copy, or train "
            "with --promote, which challenges that one"
        )
