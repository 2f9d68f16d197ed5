"""One dataset and encoder, as the template tells of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC

from clip_adapter.escaping import slug
from clip_adapter.report.charts import accuracy_figure, study_figure
from clip_adapter.report.facts import Board, Failure, RunFacts
from clip_adapter.report.lines import lines_of
from clip_adapter.report.numbers import listed
from clip_adapter.report.rivals import Rivalries, leaders, rivalries, tally, verdicts
from clip_adapter.report.studies import Study, studies_of
from clip_adapter.report.tables import (
    Table,
    accuracy_table,
    calibration_table,
    choices_table,
    comparison_table,
    cost_table,
    grid,
)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure and the name of its file."""

    name: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class About:
    """What stands at the head of a section."""

    dataset: str
    model: str
    encoder: str
    precision: str
    has_oracle: bool
    n_test: str
    n_leaked: int
    seeds: str
    dates: str
    commits: str
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the comparisons come to, in words."""

    reference: str
    tally: str
    verdicts: list[tuple[str, str]]
    refused: tuple[str, ...]
    table: Table


@dataclass(frozen=True, kw_only=True)
class Results:
    """The methods on the leaderboard; `reading` is None where CLIP-Adapter cannot be compared."""

    title: str
    figure: Drawn
    accuracy: Table
    leaders: list[tuple[str, str]]
    reading: Reading | None
    choices: Table
    calibration: Table
    cost: Table


@dataclass(frozen=True, kw_only=True)
class StudySection:
    """A study with its figure and table."""

    name: str
    recipe: str
    title: str
    figure: Drawn
    varied: str
    seeds: str
    table: Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything the template needs; `results` is None where there are only studies."""

    about: About
    results: Results | None
    studies: tuple[StudySection, ...]

    @property
    def figures(self) -> list[Drawn]:
        """All that the section shows."""
        first = [self.results.figure] if self.results else []
        return [*first, *(study.figure for study in self.studies)]


def section_of(board: Board) -> Section:
    """The section of a board, its figures drawn."""
    return Section(
        about=_about(board),
        results=_results(board) if board.runs else None,
        studies=tuple(_study_section(board, study) for study in studies_of(board.study_runs)),
    )


def _about(board: Board) -> About:
    runs, latest = board.all_runs, board.latest
    return About(
        dataset=latest.dataset,
        model=latest.model,
        encoder=latest.encoder[:12],
        precision=latest.precision,
        has_oracle=any("oracle" in run.selected_on for run in runs),
        n_test=" or ".join(f"{n:,}" for n in sorted({run.n_test for run in runs})),
        n_leaked=max(run.n_leaked for run in runs),
        seeds=listed(_sorted(str(run.seed) for run in runs if run.seed is not None)) or "none",
        dates=_dates(runs),
        commits=listed(_commits(runs)),
        failures=board.failures,
    )


def _results(board: Board) -> Results:
    lines = lines_of(board.runs)
    title = f"Accuracy on {_who(board)}"
    return Results(
        title=title,
        figure=Drawn(name=_file(board, "accuracy"), svg=accuracy_figure(lines, title=title)),
        accuracy=accuracy_table(lines),
        leaders=leaders(lines),
        reading=_reading(rivalries(board, lines)),
        choices=choices_table(lines),
        calibration=calibration_table(lines),
        cost=cost_table(lines),
    )


def _reading(found: Rivalries | None) -> Reading | None:
    if found is None or not found.compared:
        return None
    return Reading(
        reference=found.reference,
        tally=tally(found),
        verdicts=verdicts(found),
        refused=found.refused,
        table=comparison_table(found.compared),
    )


def _study_section(board: Board, study: Study) -> StudySection:
    recipe = f"{study.recipe} recipe" if study.recipe else ""
    title = f"{study.name} on {_who(board)}{recipe and f', {recipe}'}"
    file = "-".join(filter(None, ["study", slug(study.name), study.recipe and slug(study.recipe)]))
    means = {variant.name: variant.means for variant in study.variants}
    return StudySection(
        name=study.name,
        recipe=recipe,
        title=title,
        figure=Drawn(name=_file(board, file), svg=study_figure(study, title=title)),
        varied=study.varied,
        seeds=listed([str(seed) for seed in study.seeds]),
        table=grid(means, heading=study.varied),
    )


def _who(board: Board) -> str:
    latest = board.latest
    return f"{latest.dataset} with {latest.model}"


def _file(board: Board, what: str) -> str:
    latest = board.latest
    return f"{slug(latest.dataset)}-{slug(latest.encoder[:8])}-{what}.svg"


def _dates(runs: Iterable[RunFacts]) -> str:
    days = sorted(run.started_at.astimezone(UTC).date().isoformat() for run in runs)
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _commits(runs: Iterable[RunFacts]) -> list[str]:
    found = _sorted(run.git_commit[:10] if run.git_commit else "no commit" for run in runs)
    return found if len(found) <= 4 else [*found[:3], f"{len(found) - 3} other commits"]


def _sorted(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: (len(text), text))
