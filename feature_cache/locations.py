"""Where things lie at rest: below a folder of this machine, or below a prefix in an object store."""

from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from feature_cache.errors import InvalidRootError
from feature_cache.paths import Location, ObjectPath

OBJECT_STORES = ("s3", "gs", "abfs", "abfss")
"""The schemes of URLs that a root may have; pyarrow brings a client for each."""


_SECRETS = ("secret", "password", "token", "key", "sig")
"""Words in the names of options that hold secrets, or sign for them."""


def locate(root: str | Location) -> Location:
    """The place that a path or URL names; nothing is opened, nothing need be there.

    Args:
        root: A path of this machine, made absolute, or a URL as `s3://bucket/prefix`. Options of
            pyarrow's clients may follow a question mark: `?region=...&endpoint_override=...`.

    Raises:
        InvalidRootError: A URL of another kind, without a bucket, or with a secret in it.
    """
    if isinstance(root, ObjectPath):
        return root
    if isinstance(root, Path) or "://" not in root:
        return _folder(Path(root))
    parts = _split(root)
    if parts.scheme == "file":
        return _folder_of(parts)
    _check(parts)
    key = "/".join(part for part in parts.path.split("/") if part)
    options = f"?{parts.query}" if parts.query else ""
    return ObjectPath(f"{parts.scheme}://{parts.netloc}", key, options)


def _folder(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:  # ~somebody, whom this machine does not know
        raise InvalidRootError(f"{str(path)!r} names no folder: {error}") from error


def _folder_of(parts: SplitResult) -> Path:
    if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
        raise InvalidRootError(
            f"{parts.geturl()!r} names no folder of this machine: write file:///folder, with three "
            "slashes, or the plain path"
        )
    return Path(unquote(parts.path)).resolve()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidRootError(f"a root's URL is malformed: {error}") from error


def _check(parts: SplitResult) -> None:
    if parts.scheme not in OBJECT_STORES:
        raise InvalidRootError(
            f"a root is a folder or a URL with one of {', '.join(OBJECT_STORES)}, found scheme "
            f"{parts.scheme!r}: write for example s3://bucket/prefix"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    if parts.password is not None or any(_is_secret(name) for name, _ in options):
        # The URL is not repeated: it would carry the secret into logs.
        raise InvalidRootError(
            "a root's URL holds a secret, and roots are shown in logs and pages: give the secret "
            "by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
        )
    if not parts.netloc or ".." in parts.path.split("/") or parts.fragment:
        raise InvalidRootError(
            f"{parts.geturl()!r} names no bucket and prefix: write s3://bucket/prefix"
        )


def _is_secret(option: str) -> bool:
    return any(word in option.lower() for word in _SECRETS)
