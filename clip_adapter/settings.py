"""Where things lie: read from the environment by whoever talks to a person or to Prefect."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from clip_adapter.errors import ClipAdapterError
from feature_cache import Location, locate


class UnwritableRootError(ClipAdapterError, PermissionError):
    """Nothing can be written below the root."""


def check_writable(root: Path, *, below: str = "") -> None:
    """Raise if nothing can be written to a folder; the folder is created if it is missing.

    Args:
        root: folder of the store.
        below: folder below the root to check instead of the root itself.

    Raises:
        UnwritableRootError: the folder cannot be written to; the message says why and what to do.
    """
    folder = root / below
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnwritableRootError(
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


DEFAULT_ROOT = "clip-adapter-store"


class InvalidSettingError(ClipAdapterError, ValueError):
    """An environment variable whose value cannot be what it should be."""


class Settings(BaseSettings):
    """The places of a machine, each overridden by an environment variable or an option.

    Attributes:
        root: `CLIP_ADAPTER_ROOT`, the folder of everything that is written, or the URL of a place
            in an object store for the features, indexes and runs.
        data: `CLIP_ADAPTER_DATA`, the folder of dataset folders in CoOp's layout; `images` below
            the root when it is not set.
        encoders: `CLIP_ADAPTER_ENCODERS`, how many encoders may run on this machine at once.
        dask: `CLIP_ADAPTER_DASK`, the address of a Dask scheduler that tasks are handed to, or
            `local:N` for N processes of this machine; threads of one process when it is not set.
        reports_url: `CLIP_ADAPTER_REPORTS_URL`, the address under which a web server shows the
            folder `reports` of the root; links to reports begin with it.
    """

    model_config = SettingsConfigDict(
        env_prefix="CLIP_ADAPTER_", env_ignore_empty=True, frozen=True
    )

    root: str = DEFAULT_ROOT
    data: Path | None = None
    encoders: Annotated[int, Field(ge=1, le=1024)] = 1
    dask: str | None = None
    reports_url: str | None = None

    @classmethod
    def of(cls, *, root: Path | str | None = None, data: Path | str | None = None) -> "Settings":
        """The settings with those given taking precedence over the environment.

        Raises:
            InvalidSettingError: an environment variable has a value that cannot be.
        """
        given: dict[str, Any] = {"root": root and str(root), "data": data}
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            wrong = "; ".join(
                f"CLIP_ADAPTER_{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}, found "
                f"{each['input']!r}"
                for each in error.errors()
            )
            raise InvalidSettingError(f"{wrong}: set or unset the variable") from None

    @property
    def location(self) -> Location:
        """Where everything at rest lies; absolute, so that a change of folder moves nothing."""
        return locate(self.root)

    @property
    def url(self) -> str:
        """The location as text that names it again."""
        location = self.location
        return str(location) if isinstance(location, Path) else location.url

    @property
    def workspace(self) -> Path:
        """The root, or where that is no folder of this machine a folder in its stead.

        Prefect's records and generated images lie there.
        """
        location = self.location
        return location if isinstance(location, Path) else Path(DEFAULT_ROOT).resolve()

    @property
    def data_folder(self) -> Path:
        """Where dataset folders are looked for."""
        return (self.data or self.workspace / "images").expanduser().resolve()

    @staticmethod
    def folder(path: Path | str | None) -> Path | None:
        """An optional folder as an absolute path."""
        return None if path is None else Path(path).expanduser().resolve()
