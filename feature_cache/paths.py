"""Names of files and folders: on this machine, or in an object store."""

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """Something in a folder.

    Attributes:
        name: Without the folder.
        size_bytes: As the folder tells it.
        modified: Seconds since 1970.
        is_folder: Whether it is a folder itself; links to folders are not.
    """

    name: str
    size_bytes: int
    modified: float
    is_folder: bool = False


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A name in an object store, which joins like a `pathlib.Path`.

    Attributes:
        store: Scheme and bucket, as `s3://bucket`.
        key: The rest, with single slashes inside and none at the ends.
        options: What the client has to know beyond that, as `?endpoint_override=127.0.0.1:9000`.
    """

    store: str
    key: str
    options: str = ""

    def __truediv__(self, name: str) -> "ObjectPath":
        """The name below this one."""
        return replace(self, key=f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        """As a person reads it; the options do not help them."""
        return f"{self.store}/{self.key}"

    @property
    def url(self) -> str:
        """What `locate` turns into this path."""
        return f"{self}{self.options}"

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its last suffix."""
        head, dot, _ = self.name.rpartition(".")
        return head if dot else self.name

    @property
    def parent(self) -> "ObjectPath":
        """All but the last part."""
        return replace(self, key=self.key.rpartition("/")[0])


Location = Path | ObjectPath
"""A file or folder at rest; both kinds have `/`, `name`, `stem` and `parent`."""
