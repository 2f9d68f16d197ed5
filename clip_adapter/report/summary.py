"""What one sweep came to, on half a page: for whoever looks the morning after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from clip_adapter.progress import duration, rate
from clip_adapter.report.facts import Board, read_boards
from clip_adapter.report.lines import Line, lines_of
from clip_adapter.report.numbers import points
from clip_adapter.report.pages import page_of, png_address, render
from clip_adapter.report.rivals import contestant_of
from clip_adapter.report.sections import Section, section_of
from clip_adapter.report.tables import Table, by_shots
from clip_adapter.runs import IncomparableRunsError, RunDatabase, compare, connect, encoding_rate
from clip_adapter.shots import shots_in_words
from feature_cache import Location

ZERO_SHOT = "zero-shot"


def against_zero_shot(board: Board, lines: Sequence[Line]) -> Table | None:
    """Methods x shots: the difference in points with its interval; bold where it is shown.

    None where zero-shot was not run, or nothing else was. Of several settings of zero-shot the one
    that ran last counts.
    """
    known = [line for line in lines if line.method == ZERO_SHOT]
    others = [line for line in lines if line.method != ZERO_SHOT]
    if not known or not others:
        return None
    reference = max(known, key=lambda line: max(run.recency for run in line.runs))
    return by_shots(others, lambda line, shots: _cell(board, line, reference, shots=shots))


def _cell(board: Board, line: Line, reference: Line, *, shots: int) -> str:
    if shots not in line.shots:
        return ""
    ours, theirs = contestant_of(board, line, shots), contestant_of(board, reference, 0)
    try:
        paired = compare(ours, theirs, board.answers).paired
    except IncomparableRunsError:
        return "not comparable"
    text = f"{points(paired.difference)} ({points(paired.low)} to {points(paired.high)})"
    shown = paired.verdict in {"ahead", "behind"}
    return Markup("**{}**").format(text) if shown else text


MOST_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the whole report lies.

    Attributes:
        text: a path or address to copy.
        address: one that a browser opens from another site's page; empty where there is none.
    """

    text: str
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What a sweep did, as far as the store does not say it.

    Attributes:
        dataset: its name in the store.
        index_fingerprint: the state in which it was indexed.
        encoder: fingerprint.
        device: where images are encoded.
        n_encoded: features made now.
        n_reused: features that were there.
        n_trained: runs made now.
        n_on_record: runs that were there.
        seconds: spent training.
        decision: about the champion, in a sentence; empty where none was made.
        report: the whole of it; None where none was written.
    """

    dataset: str
    index_fingerprint: str
    encoder: str
    device: str
    n_encoded: int
    n_reused: int
    n_trained: int
    n_on_record: int
    seconds: float
    decision: str = ""
    report: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """What is to be seen of the leaderboard."""

    title: str
    picture: str
    accuracy: Table
    against: Table | None
    best: str
    confusions: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What can be read about a sweep.

    Attributes:
        summary: half a page of Markdown in which every name is inert, with the picture inside.
        report: the whole report on the dataset, as a page of HTML.
    """

    summary: str
    report: str


def tell(root: Location, facts: SweepFacts) -> Told:
    """Read the store once, and tell of it at two lengths.

    Raises:
        RunStoreError: there is no store.
        NothingToReportError, UnknownNameError: the dataset has no completed run.
    """
    with connect(root) as database:
        boards = read_boards(database, [facts.dataset])
        sections = [section_of(board) for board in boards]
        board, section = next(
            each
            for each in zip(boards, sections, strict=True)
            if each[0].latest.encoder == facts.encoder
        )
        summary = _summary(database, facts, board, results=_results(database, board, section))
    return Told(summary=summary, report=page_of(sections))


def _summary(
    database: RunDatabase, facts: SweepFacts, board: Board, *, results: Results | None
) -> str:
    quarantined = database.query(_quarantined(facts)).to_pylist()
    return render(
        "summary.md.jinja",
        facts=facts,
        model=board.latest.model,
        trained=f"{facts.n_trained:,} runs trained in {duration(facts.seconds)}",
        encoded=f"{facts.n_encoded:,} images encoded",
        saved=_saved(database, facts),
        results=results,
        quarantined=quarantined[:MOST_LISTED],
        n_quarantined=len(quarantined),
        failures=board.failures,
        report_address=Markup(facts.report.address) if facts.report else "",  # noqa: S704  # quoted
    )


def _results(database: RunDatabase, board: Board, section: Section) -> Results | None:
    if section.results is None:
        return None
    lines = lines_of(board.runs)
    line, shots = _best(lines)
    return Results(
        title=section.results.title,
        picture=Markup(png_address(section.results.figure.svg)),  # noqa: S704  # base64
        accuracy=section.results.accuracy,
        against=against_zero_shot(board, lines),
        best=f"{line.name} at {shots_in_words(shots)}" if shots else line.name,
        confusions=database.query(_confusions(board, line, shots)).to_pylist(),
    )


def _saved(database: RunDatabase, facts: SweepFacts) -> str:
    """What the features that were there have saved; no time where none was ever measured."""
    if not facts.n_reused:
        return ""
    reused = f"{facts.n_reused:,} features reused"
    speed = encoding_rate(database, encoder=facts.encoder, device=facts.device)
    if not speed:
        return reused
    return (
        f"{reused}, {duration(facts.n_reused / speed)} of encoding saved (at {rate(speed, 'images')}, "
        f"on record for this encoder on {facts.device})"
    )


def _best(lines: Sequence[Line]) -> tuple[Line, int]:
    means = [
        (mean.value, line, shots)
        for line in lines
        for shots in line.shots
        if (mean := line.mean("test accuracy", shots)) is not None
    ]
    _, line, shots = max(means, key=lambda each: each[0])
    return line, shots


def _confusions(board: Board, line: Line, shots: int) -> str:
    where = {
        "dataset": board.latest.dataset,
        "encoder": board.latest.encoder,
        "method": line.method,
        "settings_fingerprint": line.settings_fingerprint,
    }
    return f"""
SELECT class_name, predicted_name, sum(n) AS n FROM confusion
WHERE {_equals(where)} AND shots = {shots} AND label <> predicted
GROUP BY ALL ORDER BY n DESC, class_name, predicted_name LIMIT 3
"""


def _quarantined(facts: SweepFacts) -> str:
    where = {"dataset": facts.dataset, "index_fingerprint": facts.index_fingerprint}
    return f"SELECT path, reason FROM quarantine WHERE {_equals(where)} ORDER BY path"


def _equals(values: dict[str, str]) -> str:
    """A condition; texts stand in quotes, which are doubled in them."""
    pairs = [(name, value.replace("'", "''")) for name, value in values.items()]
    return " AND ".join(f"{name} = '{value}'" for name, value in pairs)
