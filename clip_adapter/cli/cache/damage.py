"""Files that cannot be trusted: remembered, and told with the reason and what to do."""

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
    """Takes note of files that cannot be trusted, so that a command goes on without them."""

    root: Location
    problems: dict[Location, FeatureCacheError] = field(default_factory=dict)

    def note(self, path: Location, error: FeatureCacheError) -> None:
        """Remember one file; meant as the `on_corruption` of the feature cache."""
        self.problems.setdefault(path, error)

    def rows(self) -> list[dict[str, Any]]:
        """Each file with its reason and what to do, for programs."""
        return [
            {
                "path": str(path),
                "reason": reason_of(path, error),
                "advice": advice_about(path, error, root=self.root),
            }
            for path, error in self.problems.items()
        ]

    def show(self, console: Console, *, repaired: bool = False) -> None:
        """The same for a person, three lines a file; without advice where it was just followed."""
        for row in self.rows():
            lines = [row["path"], f"  {row['reason']}"]
            if not (repaired and "--repair" in row["advice"]):
                lines.append(f"  {row['advice']}")
            console.print(
                "\n".join(map(escape_control_characters, lines)), markup=False, soft_wrap=True
            )


def reason_of(path: Location, error: FeatureCacheError) -> str:
    """What is wrong with a file, without its name and without advice."""
    if isinstance(error, CorruptFileError):
        return error.reason
    told = str(error).removeprefix(f"{path} ")
    return told.rpartition(": ")[0] or told


def advice_about(path: Location, error: FeatureCacheError, *, root: Location) -> str:
    """What to do about a file, in a sentence."""
    if isinstance(error, CorruptFileError):
        top = next((top for top in _REMADE if f"{root / top}/" in f"{path}"), None)
        after = _REMADE.get(top or "", "what it held counts as missing")
        return f"`clip-adapter cache verify --deep --repair` sets it aside; {after}"
    advice = str(error).rpartition(": ")[2]
    if isinstance(error, NewerFormatError | WrongSchemaError):  # which no repair sets aside
        return advice
    return f"{advice}, or set it aside with `clip-adapter cache verify --repair`"
