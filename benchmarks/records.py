"""What was measured, stored in one JSON file and on the screen."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.machine import Machine

LATEST = Path(__file__).with_name("latest.json")
DOCS = Path(__file__).parents[1] / "docs"
DETAILS = "benchmarks"

Value = float | str | Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The outcome of one benchmark.

    Attributes:
        name: name of the benchmark.
        about: what was compared with what, and how.
        headlines: the main ratios, by name.
        details: all other results, with units in their names.
        lines: all results as text.
        page: all results as a page of Markdown, for the documentation; empty where there is none.
    """

    name: str
    about: str
    headlines: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Value] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    page: str = ""


def merge_into(path: Path, figures: Figures, machine: Machine) -> None:
    """Put the figures of one benchmark into a file and leave those of all others as they are.

    The headlines stand at the top, everything else below `benchmarks`, under the benchmark's name
    and with the machine it was taken on.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    stale = known.get(DETAILS, {}).get(figures.name, {}).get("headlines", [])
    kept = {name: value for name, value in known.items() if name not in stale}
    entry = {
        "about": figures.about,
        "headlines": sorted(figures.headlines),
        "figures": dict(figures.details),
        "machine": asdict(machine),
    }
    details = {**known.get(DETAILS, {}), figures.name: entry}
    rounded = {name: float(f"{value:.3g}") for name, value in figures.headlines.items()}
    merged = {**kept, **rounded, DETAILS: details}
    path.write_text(json.dumps(merged, indent=2, sort_keys=True) + "\n")


def write_page(out: Path, figures: Figures, machine: Machine) -> Path:
    """Write the page of a benchmark with the machine, to the documentation if `out` is `LATEST`, else beside it."""
    name = f"benchmarks-{figures.name.replace('_', '-')}.md"
    path = (DOCS if out == LATEST else out.parent) / name
    path.write_text(f"{figures.page}\nMachine: {'; '.join(machine.lines())}.\n")
    return path
