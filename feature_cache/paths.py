"""Names of files and folders, on this machine or in an object store."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from feature_cache.errors import InvalidInputError

OBJECT_STORES = ("s3", "gs", "abfs", "abfss")
"""URL schemes that a root may have; pyarrow includes a client for each."""

_SECRETS = ("secret", "password", "token", "key", "sig")
"""Parts of the names of URL options that hold secrets or signatures."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in the listing of a folder.

    Attributes:
        name: name without the folder.
        size_bytes: size according to the listing.
        modified: time of the last change, in seconds since 1970.
        is_folder: whether the entry is a folder; false for links to folders.
    """

    name: str
    size_bytes: int
    modified: float
    is_folder: bool = False


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A name in an object store, with the interface of `pathlib.Path` for joining and splitting.

    Attributes:
        store: scheme and bucket, as `s3://bucket`.
        key: name in the bucket, with single slashes inside and none at the ends.
        options: query string for the client, as `?endpoint_override=127.0.0.1:9000`.
    """

    store: str
    key: str
    options: str = ""

    def __truediv__(self, name: str) -> "ObjectPath":
        """Join this path and a name."""
        return replace(self, key=f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        """Path for messages, without the options."""
        return f"{self.store}/{self.key}"

    @property
    def url(self) -> str:
        """URL from which `locate` makes this path, options included."""
        return f"{self}{self.options}"

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Last part of the key without its last suffix."""
        head, dot, _ = self.name.rpartition(".")
        return head if dot else self.name

    @property
    def parent(self) -> "ObjectPath":
        """Path without the last part of the key."""
        return replace(self, key=self.key.rpartition("/")[0])


Location = Path | ObjectPath
"""A file or folder of a store; both types have `/`, `name`, `stem` and `parent`."""


def locate(root: str | Location) -> Location:
    """Parse a path or URL; nothing is opened, and nothing has to exist there.

    Args:
        root: path on this machine, which is made absolute, or URL as `s3://bucket/prefix`. Options
            for pyarrow's clients may follow a question mark:
            `?region=...&endpoint_override=...`.

    Raises:
        InvalidInputError: the URL has another scheme, no bucket, or a secret in it.
    """
    if isinstance(root, ObjectPath):
        return root
    if isinstance(root, Path) or "://" not in root:
        return _absolute(Path(root))
    parts = _split(root)
    if parts.scheme == "file":
        return _path_of_file_url(parts)
    _check_object_store(parts)
    key = "/".join(part for part in parts.path.split("/") if part)
    options = f"?{parts.query}" if parts.query else ""
    return ObjectPath(f"{parts.scheme}://{parts.netloc}", key, options)


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:  # ~user, for a user that this machine does not have
        raise InvalidInputError(f"{str(path)!r} names no folder: {error}") from error


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidInputError(f"a root's URL is malformed: {error}") from error


def _path_of_file_url(parts: SplitResult) -> Path:
    if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
        raise InvalidInputError(
            f"{parts.geturl()!r} names no folder of this machine: write file:///folder, with three "
            "slashes, or the plain path"
        )
    return Path(unquote(parts.path)).resolve()


def _check_object_store(parts: SplitResult) -> None:
    if parts.scheme not in OBJECT_STORES:
        raise InvalidInputError(
            f"a root is a folder or a URL with one of {', '.join(OBJECT_STORES)}, found scheme "
            f"{parts.scheme!r}: write for example s3://bucket/prefix"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    if parts.password is not None or any(_is_secret(name) for name, _ in options):
        # The message does not repeat the URL, which would write the secret to logs.
        raise InvalidInputError(
            "a root's URL holds a secret, and roots are shown in logs and pages: give the secret "
            "by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
        )
    if not parts.netloc or ".." in parts.path.split("/") or parts.fragment:
        raise InvalidInputError(
            f"{parts.geturl()!r} names no bucket and prefix: write s3://bucket/prefix"
        )


def _is_secret(option: str) -> bool:
    return any(word in option.lower() for word in _SECRETS)
