"""Lines of a board: a method with its settings, under a name that tells it from the others."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clip_adapter.report.facts import RunFacts
from clip_adapter.report.numbers import Mean, mean_of, plain
from clip_adapter.runs import with_settings

CLIP_ADAPTER = "clip-adapter"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A method with the settings it was asked to try, at all shots.

    Attributes:
        name: the method's, with what its settings differ in where there are several.
    """

    name: str
    method: str
    settings_fingerprint: str
    runs: tuple[RunFacts, ...]

    @property
    def shots(self) -> list[int]:
        """At which there are runs, rising; 0 alone for a method that uses none."""
        return sorted({run.shots for run in self.runs})

    def at(self, shots: int) -> list[RunFacts]:
        """Its runs at so many shots, one a seed."""
        return [run for run in self.runs if run.shots == shots]

    def mean(self, metric: str, shots: int) -> Mean | None:
        """Over seeds; None where there is nothing."""
        values = [run.metrics[metric] for run in self.at(shots) if metric in run.metrics]
        return mean_of(values) if values else None


def lines_of(runs: Sequence[RunFacts]) -> list[Line]:
    """By method and settings, in the order of their names."""
    by_method: dict[str, dict[str, list[RunFacts]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_method[run.method][run.settings_fingerprint].append(run)
    lines = [
        Line(
            name=_name(method, settings, of_method),
            method=method,
            settings_fingerprint=settings,
            runs=tuple(of_settings),
        )
        for method, of_method in by_method.items()
        for settings, of_settings in of_method.items()
    ]
    return sorted(lines, key=lambda line: (line.shots != [0], line.name))


def reference_line(lines: Sequence[Line]) -> Line | None:
    """CLIP-Adapter's; where it ran with several settings, those with most runs, then the latest."""
    candidates = [line for line in lines if line.method == CLIP_ADAPTER]
    if not candidates:
        return None
    return max(
        candidates,
        key=lambda line: (len(line.runs), max(run.recency for run in line.runs), line.name),
    )


def _name(method: str, settings: str, of_method: dict[str, list[RunFacts]]) -> str:
    if len(of_method) == 1:
        return method
    ours = _constants(of_method[settings])
    others = [_constants(runs) for one, runs in of_method.items() if one != settings]
    telling = [
        f"{name.replace('_', ' ')} {plain(value)}"
        for name, value in ours.items()
        if any(other.get(name) != value for other in others)
    ]
    alone = telling and all(
        any(other.get(name) != value for name, value in ours.items()) for other in others
    )
    return f"{method} ({', '.join(telling)})" if alone else with_settings(method, settings)


def _constants(runs: Sequence[RunFacts]) -> dict[str, Any]:
    """The settings that are the same in all runs and were not chosen in any."""
    chosen = {name for run in runs for name in run.chosen}
    first = runs[0].settings
    return {
        name: value
        for name, value in first.items()
        if name not in chosen and all(run.settings.get(name) == value for run in runs)
    }
