"""The summary of a training on half a page of Markdown, and the whole report as HTML."""

import base64
from dataclasses import dataclass
from typing import Any

from altair.utils.schemapi import debug_mode
from markupsafe import Markup

from clip_adapter.pipeline.train import Training
from clip_adapter.progress import duration, rate
from clip_adapter.report.blocks import Figure, Section, settings_values
from clip_adapter.report.figures import DOCUMENT, png
from clip_adapter.report.interpretation import against
from clip_adapter.report.numbers import points
from clip_adapter.report.pages import html_report, render, write_sections
from clip_adapter.report.results import ZERO_SHOT, DatasetResults, MethodSeries, read_results
from clip_adapter.report.tables import Bold, Table, accuracy_table, by_shots
from clip_adapter.runs import PairedDifference, RunDatabase, RunStoreError, connect, encoding_rate
from clip_adapter.shots import shots_in_words

MOST_LISTED = 10
"""Largest number of quarantined files that are listed."""
MOST_CONFUSED = 3
DPI = 144
"""Resolution of the figure: sharp on most screens, at some 40 kB."""

_QUARANTINED = """
SELECT path, reason FROM quarantine
WHERE dataset = $dataset AND index_fingerprint = $index ORDER BY path
"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The pages about a training.

    Attributes:
        encoder: name of the encoder.
        markdown: half a page of Markdown with the figure inside, in which all names are escaped.
        report: the whole report on the dataset, as one page of HTML.
    """

    encoder: str
    markdown: str
    report: str


def summarize(
    training: Training, *, device: str, report_path: str = "", report_url: str = ""
) -> Summary:
    """Summarize a training and the results on its dataset.

    Args:
        training: result of the training.
        device: torch device that encodes images.
        report_path: path or URL of the whole report, to copy; not mentioned when empty.
        report_url: URL of the whole report that a browser opens; empty where there is none.

    Raises:
        RunStoreError: there is no store.
        RunStoreError, UnknownNameError: the dataset has no completed run.
    """
    dataset = training.encoded.dataset
    with connect(dataset.root) as database:
        all_results = read_results(database, [dataset.name])
        sections = write_sections(database, all_results)
        of_encoder = [each for each in sections if each.results.encoder == training.encoded.encoder]
        if not of_encoder:
            raise RunStoreError(f"no run of {dataset.name!r:.80} with this encoder was completed")
        (section,) = of_encoder
        results = section.results
        quarantined = database.query(
            _QUARANTINED, {"dataset": dataset.name, "index": dataset.index_fingerprint}
        ).to_pylist()
        markdown = render(
            "summary.md.jinja",
            dataset=dataset.name,
            encoder=results.about["encoder_name"],
            runs=training.runs,
            trained=f"{training.runs.n_trained:,} runs trained in {duration(training.runs.seconds)}",
            encoded=f"{training.encoded.n_encoded:,} images encoded",
            saved=_saved(database, training, device),
            decision=training.promotion.summary if training.promotion else "",
            results=_results(database, section),
            quarantined=quarantined[:MOST_LISTED],
            n_quarantined=len(quarantined),
            excluded=dataset.excluded,
            failures=results.failures,
            report_path=report_path,
            report_url=Markup(report_url),  # noqa: S704  # the caller quotes it
        )
    return Summary(
        encoder=results.about["encoder_name"], markdown=markdown, report=html_report(sections)
    )


def _results(database: RunDatabase, section: Section) -> dict[str, Any] | None:
    series = section.results.series
    if not series:
        return None
    figure = next(block.figure for block in section.blocks if block.name == "accuracy")
    headline, zero_shot = section.headline, section.results.zero_shot
    shown = headline.series if headline else zero_shot or series[0]
    shots = headline.shots if headline else max(shown.shots)
    return {
        "title": figure.title if figure else "",
        "picture": Markup(_png_address(figure)) if figure else "",  # noqa: S704  # base64
        "accuracy": accuracy_table(series),
        "against": _against_zero_shot(database, section.results),
        "shown": f"{shown.name} at {shots_in_words(shots)}" if shots else shown.name,
        "confusions": _confusions(database, section.results, shown, shots),
    }


def _png_address(figure: Figure) -> str:
    """A `data:` address of a figure as PNG: no name in it can be anything but pixels."""
    with debug_mode(False):  # see the report: every part would be checked against its schema
        chart = figure.draw(style=DOCUMENT)
    content = base64.b64encode(png(chart, dpi=DPI))
    return f"data:image/png;base64,{content.decode()}"


def _against_zero_shot(database: RunDatabase, results: DatasetResults) -> Table | None:
    """Methods x shots: the difference in points with its interval, bold where it is shown.

    None where zero-shot was not run, or nothing else was. Of several settings of zero-shot the
    latest counts. The verdicts are corrected for the number of cells.
    """
    others = [each for each in results.series if each.method != ZERO_SHOT]
    if results.zero_shot is None or not others:
        return None
    sql = results.statement("against-zero-shot", **settings_values(results.zero_shot))
    found = against(database.query(sql).to_pylist(), others)
    return by_shots(
        others,
        lambda one, shots: _difference(found.get((one.name, shots))) if shots in one.rows else "",
    )


def _difference(paired: PairedDifference | None) -> str:
    if paired is None:
        return "not comparable"
    text = f"{points(paired.difference)} ({points(paired.low)} to {points(paired.high)})"
    return text if paired.verdict == "no difference shown" else Bold(text)


def _saved(database: RunDatabase, training: Training, device: str) -> str:
    """What reused features saved, with the time where the rate of the encoder is recorded."""
    n_reused = training.encoded.n_reused
    if not n_reused:
        return ""
    reused = f"{n_reused:,} features reused"
    speed = encoding_rate(database, encoder=training.encoded.encoder, device=device)
    if not speed:
        return reused
    return (
        f"{reused}, {duration(n_reused / speed)} of encoding saved (at {rate(speed, 'images')}, "
        f"recorded for this encoder on {device})"
    )


def _confusions(
    database: RunDatabase, results: DatasetResults, series: MethodSeries, shots: int
) -> list[dict[str, Any]]:
    """The three pairs of classes that a series confuses most often."""
    sql = results.statement("confusion", **settings_values(series), shots=shots)
    rows = database.query(sql).to_pylist()
    wrong = [row for row in rows if row["class_name"] != row["predicted_name"]]
    wrong.sort(key=lambda row: (-row["n"], row["class_name"], row["predicted_name"]))
    return wrong[:MOST_CONFUSED]
