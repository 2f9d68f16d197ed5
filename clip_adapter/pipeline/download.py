"""Downloads a file over HTTP: goes on where it broke off, bounded in size, compared with its digest."""

import email.utils
import errno
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from clip_adapter.errors import UnavailableError
from clip_adapter.pipeline.reporter import Reporter

MAX_ATTEMPTS: Final = 5
"""Number of attempts without progress after which a transfer is given up."""
TIMEOUT_SECONDS: Final = 30.0
"""Time without a byte after which a connection counts as broken."""
MAX_RETRY_AFTER_SECONDS: Final = 120.0
"""Longest time that a server may ask to wait before the next attempt."""
_CHUNK_BYTES: Final = 2**18
_RETRIED: Final = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS)
_BROKEN: Final = (urllib.error.URLError, http.client.HTTPException, OSError)
_BEFORE_RETRY_SECONDS: Final = 1.0


def download(
    url: str,
    target: Path,
    *,
    limit_bytes: int,
    algorithm: str | None = None,
    digest: str = "",
    reporter: Reporter,
) -> None:
    """Download a file to `target`, which exists only when it is complete and has its digest.

    What was transferred stays in `<target>.part` if the connection breaks or the process ends, and the
    next call asks the server for the rest alone; if the file changed there meanwhile, for all of it.

    Args:
        url: address, http or https. It may redirect, but not from https to http.
        target: file to write; its folder exists. One that exists already is taken as it is.
        limit_bytes: size above which the transfer is given up.
        algorithm: "md5" or "sha256"; None where no digest is known.
        digest: expected digest in hexadecimal.
        reporter: where to report progress.

    Raises:
        UnavailableError: the server cannot be reached or refuses, or the file is larger than the limit
            or has another digest; such a file is removed.
        OSError: the disk cannot be written to.
    """
    if target.exists():
        return
    transfer = _Transfer(url, target, limit_bytes=limit_bytes, has_digest=algorithm is not None)
    with ExitStack() as stack:
        transfer.run(stack, reporter=reporter)
    if algorithm:
        found = _digest(transfer.part, algorithm)
        if found != digest:
            transfer.forget()
            raise UnavailableError(
                f"{url} has the {algorithm} {found}, expected {digest}: it is another file than the one "
                "that was published, or was damaged on the way, and was removed. Try once more; if it "
                "is the same then, get the file by hand"
            )
    transfer.part.replace(target)
    transfer.forget()


class _Transfer:
    """A file on its way: the part that is there, and what the server said of the whole.

    Attributes:
        part: the file as far as it is there.
    """

    def __init__(self, url: str, target: Path, *, limit_bytes: int, has_digest: bool) -> None:
        self.part = target.with_name(f"{target.name}.part")
        self._url = url
        self._limit = limit_bytes
        self._has_digest = has_digest
        # The version of the file on the server, so that no two versions are joined.
        self._version = target.with_name(f"{target.name}.version")
        self._advance: Callable[[float], None] | None = None
        self._n_shown = 0

    def forget(self) -> None:
        """Remove what is there."""
        for path in (self.part, self._version):
            path.unlink(missing_ok=True)

    def run(self, stack: ExitStack, *, reporter: Reporter) -> None:
        """Transfer the file, again and again while the connection breaks.

        Args:
            stack: what the report of progress is left with.
            reporter: where to report progress.
        """
        n_failed, most = 0, -1
        while True:
            asked_seconds = 0.0
            try:
                if self._receive(stack, reporter):
                    return
                why = "the connection was closed"
            except urllib.error.HTTPError as error:
                asked_seconds = _retry_after(error.headers.get("Retry-After", ""))
                if self._is_whole_after(error, asked_seconds):
                    return
                why = f"the server answers {error.code} {error.reason}"
            except _BROKEN as error:
                if isinstance(error, OSError) and _is_disk_error(error):
                    raise
                why = str(getattr(error, "reason", error)) or type(error).__name__
            size = self._size()
            n_failed, most = (1, size) if size > most else (n_failed + 1, most)
            if n_failed >= MAX_ATTEMPTS:
                raise UnavailableError(
                    f"{self._url} cannot be downloaded: {why}. What is there ({size / 1e6:,.1f} MB) is "
                    "kept, and the same command goes on from there"
                )
            reporter.log(f"{why}; trying again from {size / 1e6:,.1f} MB")
            time.sleep(max(asked_seconds, _BEFORE_RETRY_SECONDS * (n_failed - 1)))

    def _is_whole_after(self, error: urllib.error.HTTPError, asked_seconds: float) -> bool:
        """Whether an error of the server says that the part is the whole file.

        Raises:
            UnavailableError: the same request would fail again, or only a long wait would help.
        """
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if self._is_all_of(error.headers.get("Content-Range", "")):
                return True
            self.forget()
            return False
        refused = (
            f"{self._url} cannot be downloaded: the server answers {error.code} {error.reason}"
        )
        if error.code < 500 and error.code not in _RETRIED:
            raise UnavailableError(refused) from None
        if asked_seconds > MAX_RETRY_AFTER_SECONDS:
            raise UnavailableError(
                f"{refused} and asks to wait for {asked_seconds:,.0f} seconds. What is there is kept: run the "
                "same command then"
            ) from None
        return False

    def _receive(self, stack: ExitStack, reporter: Reporter) -> bool:
        """Ask for what is lacking and write what comes; whether the file is complete."""
        size = self._size()
        headers = {"Accept-Encoding": "identity", "User-Agent": "clip-adapter"}
        version = self._version.read_text() if self._version.exists() else ""
        if size and version:
            headers |= {"Range": f"bytes={size}-", "If-Range": version}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310  # of a description: http or https
        opener = urllib.request.build_opener(_Redirects)
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            begin = _begin(answer.headers.get("Content-Range", "")) if answer.status == 206 else 0
            if begin not in {0, size}:
                raise http.client.HTTPException(f"the server sent bytes from {begin}, not {size}")
            length = answer.headers.get("Content-Length", "")
            whole = begin + int(length) if length.isdecimal() else None
            # The end of a chunked answer is marked: http.client raises an error where it is lacking.
            if whole is None and not answer.chunked and not self._has_digest:
                raise UnavailableError(
                    f"{self._url} cannot be downloaded: the server does not say how large the file is and no "
                    "digest of it is known, so that a part could not be told from the whole"
                )
            self._check_size(whole or 0)
            self._version.write_text(_version(answer.headers))
            if self._advance is None:  # the size is known now
                self._n_shown = begin
                total = ((whole or self._limit) - begin) / 1e6
                title = f"downloading {self.part.stem}"
                self._advance = stack.enter_context(
                    reporter.progress(title, total=total, unit="MB")
                )
            with self.part.open("r+b" if begin else "wb") as file:
                file.seek(begin)
                while piece := answer.read(_CHUNK_BYTES):
                    self._check_size(file.tell() + len(piece))
                    file.write(piece)
                    self._show(file.tell())
                file.truncate()
                os.fsync(file.fileno())
        return whole is None or self._size() == whole

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _is_all_of(self, content_range: str) -> bool:
        """Whether the part is the whole file, of which the server therefore has no more to send."""
        return content_range == f"bytes */{self._size()}"

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._limit:
            self.forget()
            raise UnavailableError(
                f"{self._url} has more than {self._limit:,} bytes, the limit of this file: it is "
                "another one than the one that was published"
            )

    def _show(self, n_bytes: int) -> None:
        if self._advance is not None and n_bytes > self._n_shown:
            self._advance((n_bytes - self._n_shown) / 1e6)
            self._n_shown = n_bytes


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, and not from https to http."""

    def redirect_request(  # noqa: PLR0917  # as urllib calls it
        self, request: Any, file: Any, code: int, reason: str, headers: Any, url: str
    ) -> Any:
        """The request for the address that an answer redirects to."""
        schemes = (
            ("https://",) if request.full_url.startswith("https:") else ("https://", "http://")
        )
        if not url.lower().startswith(schemes):
            raise UnavailableError(
                f"{request.full_url} redirects to {url!r:.200}, expected {' or '.join(schemes)}"
            )
        return super().redirect_request(request, file, code, reason, headers, url)


def _begin(content_range: str) -> int:
    found = re.match(r"bytes (\d+)-", content_range)
    return int(found[1]) if found else -1


def _version(headers: Any) -> str:
    """A strong validator of the file, as the header If-Range takes it; empty if there is none."""
    tag: str = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else str(headers.get("Last-Modified", ""))


def _retry_after(value: str) -> float:
    """Seconds from now that a header Retry-After asks for, as a number or a date; 0 if it says nothing."""
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _is_disk_error(error: OSError) -> bool:
    if isinstance(error, urllib.error.URLError):
        return False
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
    return error.filename is not None or error.errno in full


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
