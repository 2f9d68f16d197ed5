"""Where things lie: read from the environment by whoever talks to a person or to Prefect."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]


class Settings(BaseSettings):
    """The places of a machine, each overridden by an environment variable or an option.

    Attributes:
        root: `CLIP_ADAPTER_ROOT`, the folder of everything that is written.
        data: `CLIP_ADAPTER_DATA`, the folder of dataset folders in CoOp's layout; `images` below
            the root when it is not set.
    """

    model_config = SettingsConfigDict(
        env_prefix="CLIP_ADAPTER_", env_ignore_empty=True, frozen=True
    )

    root: Path = Path("clip-adapter-store")
    data: Path | None = None

    @classmethod
    def of(cls, *, root: Path | str | None = None, data: Path | str | None = None) -> "Settings":
        """The settings with those given taking precedence over the environment."""
        given = {"root": root, "data": data}
        return cls(**{name: Path(path) for name, path in given.items() if path is not None})

    @property
    def absolute_root(self) -> Path:
        """The root as an absolute path, so that a change of folder moves nothing."""
        return self.root.expanduser().resolve()

    @property
    def data_folder(self) -> Path:
        """Where dataset folders are looked for."""
        return (self.data or self.absolute_root / "images").expanduser().resolve()

    @staticmethod
    def folder(path: str | None) -> Path | None:
        """An optional folder as an absolute path."""
        return None if path is None else Path(path).expanduser().resolve()
