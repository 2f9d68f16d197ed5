"""The places of a machine and other settings, read from environment variables."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clip_adapter.errors import ParameterError, UnavailableError
from feature_cache import Location, locate

DEFAULT_ROOT = "clip-adapter-store"
MOST_ENCODERS = 1024


@dataclass(frozen=True)
class Settings:
    """The settings of a machine; an environment variable or an option overrides each.

    Attributes:
        root: `CLIP_ADAPTER_ROOT`, the folder of everything that is written, or the URL of a place
            in an object store for the features, indexes and runs.
        data: `CLIP_ADAPTER_DATA`, the folder of dataset folders in CoOp's layout; `images` below
            the root when it is not set.
        encoders: `CLIP_ADAPTER_ENCODERS`, how many encoders may run on this machine at once.
        dask: `CLIP_ADAPTER_DASK`, the address of a Dask scheduler for the tasks of a flow, or
            `local:N` for N processes of this machine; threads of one process when it is not set.
        reports_url: `CLIP_ADAPTER_REPORTS_URL`, the address under which a web server shows the
            folder `reports` of the root; links to reports begin with it.
        webhook_url: `CLIP_ADAPTER_WEBHOOK_URL`, the address that a Prefect server posts to when a run
            fails, crashes, is late or finds a regression; nobody is told when it is not set.
    """

    root: str = DEFAULT_ROOT
    data: Path | None = None
    encoders: int = 1
    dask: str | None = None
    reports_url: str | None = None
    webhook_url: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, *, root: Path | str | None = None, data: Path | str | None = None) -> "Settings":
        """Read the settings; those given take precedence over the environment.

        Raises:
            ParameterError: an environment variable has an invalid value.
        """
        found: dict[str, Any] = {}
        for each in fields(cls):
            # An empty variable counts as not set.
            if text := os.environ.get(f"CLIP_ADAPTER_{each.name.upper()}"):
                found[each.name] = _PARSERS.get(each.name, str)(text)
        given = {"root": root and str(root), "data": data and Path(data)}
        return cls(**{**found, **{name: value for name, value in given.items() if value}})

    @property
    def location(self) -> Location:
        """Absolute folder or object-store prefix of everything that is stored."""
        return locate(self.root)

    @property
    def url(self) -> str:
        """The location as text, in the form of `root`."""
        location = self.location
        return str(location) if isinstance(location, Path) else location.url

    @property
    def workspace(self) -> Path:
        """Folder for Prefect's records and generated images: the root, if it is a local folder."""
        location = self.location
        return location if isinstance(location, Path) else Path(DEFAULT_ROOT).resolve()

    @property
    def data_folder(self) -> Path:
        """Folder in which dataset folders are looked for."""
        return (self.data or self.workspace / "images").expanduser().resolve()

    @staticmethod
    def folder(path: Path | str | None) -> Path | None:
        """An optional folder as an absolute path."""
        return None if path is None else Path(path).expanduser().resolve()


def _parse_encoders(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ENCODERS:
        raise ParameterError(
            f"CLIP_ADAPTER_ENCODERS: expected a whole number from 1 to {MOST_ENCODERS}, found {text!r}: "
            "set or unset the variable"
        )
    return int(text)


def _parse_webhook_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        # The URL is a secret: it is not repeated.
        raise ParameterError(
            "CLIP_ADAPTER_WEBHOOK_URL: expected http://... or https://..., found something else: set or "
            "unset the variable"
        )
    return text


_PARSERS: dict[str, Callable[[str], Any]] = {
    "data": Path,
    "encoders": _parse_encoders,
    "webhook_url": _parse_webhook_url,
}


def check_writable(root: Path, *, below: str = "") -> None:
    """Raise if nothing can be written to a folder; the folder is created if it is missing.

    Args:
        root: folder of the store.
        below: folder below the root to check instead of the root itself.

    Raises:
        UnavailableError: the folder cannot be written to; the message says why and what to do.
    """
    folder = root / below
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnavailableError(
            f"nothing can be written below the root {root}: {_found(folder, error)}; expected a "
            f"folder of yours, or a place where one can be made: {_advice(root)}"
        ) from None


def _found(folder: Path, error: OSError) -> str:
    # Not Path.exists, which raises in a folder that may not be searched.
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return f"{nearest} is there, but takes nothing new ({error.strerror})"


def _advice(root: Path) -> str:
    named = "name another with --root or CLIP_ADAPTER_ROOT"
    if root == Path(DEFAULT_ROOT).resolve():
        return f"work in another folder, or {named}"
    return f"{named}, or make that one writable"
