"""A prefix in an object store whose files are read in place, through pyarrow's clients."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qsl, urlsplit

from clip_adapter.errors import DatasetError, UnreadableImageError

SCHEMES: Final = ("s3", "gs", "abfs", "abfss")
"""Schemes of URLs whose files can be read; pyarrow includes a client for each."""

_URL = re.compile(rf"({'|'.join(SCHEMES)})://", re.IGNORECASE)
_SECRETS = ("secret", "password", "token", "key", "sig")
_READ_AHEAD = 2**20  # an image costs a request, and the next ones are likely to be wanted


@dataclass(frozen=True)
class ObjectFolder:
    """A prefix in an object store.

    Attributes:
        url: bucket and prefix, as `s3://bucket/photos`, without a slash at the end.
        options: query string for the client, as `?endpoint_override=127.0.0.1:9000`, or empty.
    """

    url: str
    options: str = ""

    def __str__(self) -> str:
        """The URL from which `image_folder` makes this folder, options included."""
        return f"{self.url}{self.options}"

    @property
    def name(self) -> str:
        """Last part of the prefix, or the bucket."""
        return self.url.rpartition("/")[2]

    def files(self) -> list[str]:
        """The paths of all files below the prefix, relative to it and sorted.

        Raises:
            DatasetError: the store cannot be reached, or refuses.
        """
        from pyarrow import fs  # noqa: PLC0415  # takes 0.1 s

        with self._errors_converted():
            client, base = self._client()
            listed = client.get_file_info(fs.FileSelector(base, recursive=True))
            return sorted(
                each.path.removeprefix(f"{base}/")
                for each in listed
                if each.type == fs.FileType.File
            )

    def state(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of the last change, in nanoseconds, of a file.

        Raises:
            DatasetError: the store cannot be reached, or refuses.
        """
        with self._errors_converted():
            client, base = self._client()
            found = client.get_file_info(f"{base}/{path}")
        return found.size or 0, found.mtime_ns or 0

    def open_file(self, path: str) -> BinaryIO:
        """Open a file to read parts of it; at least 1 MiB is requested at once.

        Raises:
            UnreadableImageError: there is no such file.
            DatasetError: the store cannot be reached, or refuses.
        """
        with self._errors_converted():
            client, base = self._client()
            try:
                raw: Any = client.open_input_file(f"{base}/{path}")
            except FileNotFoundError as error:
                raise UnreadableImageError("the file does not exist") from error
        return io.BufferedReader(raw, _READ_AHEAD)

    def _client(self) -> tuple[Any, str]:
        store, bucket, prefix = _parts(self.url)
        client, root = _open_store(store + bucket, self.options)
        return client, f"{root}/{prefix}".rstrip("/")

    @contextmanager
    def _errors_converted(self) -> Iterator[None]:
        import pyarrow as pa  # noqa: PLC0415  # takes 0.1 s

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.url} cannot be read: {' '.join(str(error).split())[:300]}; check the bucket, the "
                "credentials and the endpoint"
            ) from error


ImageFolder = Path | ObjectFolder
"""Where the images of a dataset lie: a folder of this machine, or a prefix in an object store."""


def image_folder(text: str) -> ImageFolder:
    """The place that a path or URL names; nothing is opened.

    Raises:
        DatasetError: a URL has no bucket, or a secret in it.
    """
    return object_folder(text) if is_object_url(text) else Path(text)


def is_object_url(text: str) -> bool:
    """Whether a text is the URL of a place in an object store."""
    return _URL.match(text) is not None


def object_folder(url: str) -> ObjectFolder:
    """The prefix that a URL names.

    Raises:
        DatasetError: the URL has no bucket, leads upwards, or has a secret in it, which the message
            does not repeat.
    """
    plain, mark, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    if "@" in urlsplit(plain).netloc or any(
        word in name.lower() for name, _ in options for word in _SECRETS
    ):
        raise DatasetError(
            "the URL of the images holds a secret, and it is shown in logs and pages: give the secret by "
            "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
        )
    store, bucket, prefix = _parts(plain)
    if not bucket or ".." in prefix.split("/"):
        raise DatasetError(f"{plain!r:.200} names no bucket: write s3://bucket/prefix")
    kept = "/".join(filter(None, (bucket, prefix)))
    return ObjectFolder(f"{store}{kept}", f"{mark}{query}" if query else "")


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme with `://`, bucket, and prefix without outer and double slashes."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    return f"{scheme.lower()}://", bucket, "/".join(filter(None, prefix.split("/")))


@cache
def _open_store(store: str, options: str) -> tuple[Any, str]:
    from pyarrow import fs  # noqa: PLC0415  # takes 0.1 s

    client, bucket = fs.FileSystem.from_uri(f"{store}/{options}")
    return client, bucket.rstrip("/")
