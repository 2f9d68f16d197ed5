"""The damaged files that a cache command finds, each with the reason and what to do."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from clip_adapter.escaping import escape_control_characters
from feature_cache import (
    CorruptFileError,
    FeatureCacheError,
    Location,
    NewerFormatError,
    WrongSchemaError,
)

_REMADE = {
    "features": "the next extraction encodes what it held",
    "datasets": "the next extraction indexes the dataset again",
    "champions": "the previous champion is current again, see `clip-adapter champion`",
    "runs/promotions": "the decisions it held are lost, and the champion before them is current",
    "runs": "the next training makes again what it recorded",
}


@dataclass(frozen=True)
class Damage:
    """Collects damaged files, so that a command can go on without them.

    Attributes:
        root: folder or URL of the store.
        problems: the error of each damaged file.
    """

    root: Location
    problems: dict[Location, FeatureCacheError] = field(default_factory=dict)

    def note(self, path: Location, error: FeatureCacheError) -> None:
        """Add a file; pass it as `on_corruption` to the feature cache."""
        self.problems.setdefault(path, error)

    def rows(self) -> list[dict[str, Any]]:
        """Path, reason and advice of each file, for JSON."""
        return [
            {
                "path": str(path),
                "reason": reason_of(path, error),
                "advice": advice_about(path, error, root=self.root),
            }
            for path, error in self.problems.items()
        ]

    def show(self, console: Console, *, repaired: bool = False) -> None:
        """Print path, reason and advice of each file; no advice to repair where files were repaired."""
        for row in self.rows():
            lines = [row["path"], f"  {row['reason']}"]
            if not (repaired and "--repair" in row["advice"]):
                lines.append(f"  {row['advice']}")
            console.print("\n".join(map(escape_control_characters, lines)), soft_wrap=True)


def reason_of(path: Location, error: FeatureCacheError) -> str:
    """The reason why a file is damaged, without its name and without advice."""
    if isinstance(error, CorruptFileError):
        return error.reason
    message = str(error).removeprefix(f"{path} ")
    return message.rpartition(": ")[0] or message


def advice_about(path: Location, error: FeatureCacheError, *, root: Location) -> str:
    """A sentence on what to do about a damaged file."""
    if isinstance(error, CorruptFileError):
        top = next((top for top in _REMADE if f"{root / top}/" in f"{path}"), None)
        after = _REMADE.get(top or "", "what it held counts as missing")
        return f"`clip-adapter cache verify --deep --repair` sets it aside; {after}"
    advice = str(error).rpartition(": ")[2]
    if isinstance(error, NewerFormatError | WrongSchemaError):  # which --repair leaves alone
        return advice
    return f"{advice}, or set it aside with `clip-adapter cache verify --repair`"
