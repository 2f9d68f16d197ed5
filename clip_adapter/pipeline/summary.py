"""The summary of a training on half a page of Markdown, and the whole report as HTML."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from clip_adapter.pipeline.train import Training
from clip_adapter.progress import duration, rate
from clip_adapter.report.interpretation import paired_series
from clip_adapter.report.numbers import points
from clip_adapter.report.pages import Section, html_report, png_address, render, section_of
from clip_adapter.report.results import DatasetResults, MethodSeries, method_series, read_results
from clip_adapter.report.tables import Table, by_shots
from clip_adapter.runs import (
    IncomparableRunsError,
    PairedDifference,
    RunDatabase,
    adjust_p_values,
    connect,
    encoding_rate,
)
from clip_adapter.shots import shots_in_words

MOST_LISTED = 10
"""Largest number of quarantined files that are listed."""

_QUARANTINED = """
SELECT path, reason FROM quarantine
WHERE dataset = $dataset AND index_fingerprint = $index ORDER BY path
"""
_CONFUSIONS = """
SELECT class_name, predicted_name, sum(n) AS n FROM confusion
WHERE dataset = $dataset AND encoder = $encoder AND method = $method
    AND settings_fingerprint = $settings AND image_choice = $choice AND shots = $shots
    AND label <> predicted
GROUP BY ALL ORDER BY n DESC, class_name, predicted_name LIMIT 3
"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The pages about a training.

    Attributes:
        markdown: half a page of Markdown with the figure inside, in which all names are escaped.
        report: the whole report on the dataset, as one page of HTML.
    """

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
        sections = [section_of(results) for results in all_results]
        results, section = next(
            pair
            for pair in zip(all_results, sections, strict=True)
            if pair[0].latest.encoder == training.encoded.encoder
        )
        quarantined = database.query(
            _QUARANTINED, {"dataset": dataset.name, "index": dataset.index_fingerprint}
        ).to_pylist()
        markdown = render(
            "summary.md.jinja",
            dataset=dataset.name,
            model=results.latest.model,
            runs=training.runs,
            trained=f"{training.runs.n_trained:,} runs trained in {duration(training.runs.seconds)}",
            encoded=f"{training.encoded.n_encoded:,} images encoded",
            saved=_saved(database, training, device),
            decision=training.promotion.summary if training.promotion else "",
            results=_results(database, results, section),
            quarantined=quarantined[:MOST_LISTED],
            n_quarantined=len(quarantined),
            excluded=dataset.excluded,
            failures=results.failures,
            report_path=report_path,
            report_url=Markup(report_url),  # noqa: S704  # the caller quotes it
        )
    return Summary(markdown=markdown, report=html_report(sections))


def _results(
    database: RunDatabase, results: DatasetResults, section: Section
) -> dict[str, Any] | None:
    if section.results is None:
        return None
    series = method_series(results.runs)
    best, shots = _best(series)
    return {
        "title": section.results["title"],
        "picture": Markup(png_address(section.results["figure"].svg)),  # noqa: S704  # base64
        "accuracy": section.results["accuracy"],
        "against": _against_zero_shot(results, series),
        "best": f"{best.name} at {shots_in_words(shots)}" if shots else best.name,
        "confusions": _confusions(database, results, best, shots),
    }


def _against_zero_shot(results: DatasetResults, series: Sequence[MethodSeries]) -> Table | None:
    """Methods x shots: the difference in points with its interval, bold where it is shown.

    None where zero-shot was not run, or nothing else was. Of several settings of zero-shot the
    latest counts. The verdicts are corrected for the number of cells.
    """
    zero_shot = [each for each in series if each.method == "zero-shot"]
    others = [each for each in series if each.method != "zero-shot"]
    if not zero_shot or not others:
        return None
    baseline = max(zero_shot, key=lambda each: each.recency)
    found = _differences(results, others, baseline)
    return by_shots(
        others,
        lambda one, shots: _difference(found.get((one.name, shots))) if shots in one.shots else "",
    )


def _differences(
    results: DatasetResults, series: Sequence[MethodSeries], baseline: MethodSeries
) -> dict[tuple[str, int], PairedDifference]:
    """The difference of every series at all its shots that can be compared, adjusted together."""
    found: dict[tuple[str, int], PairedDifference] = {}
    for one in series:
        for shots in one.shots:
            with suppress(IncomparableRunsError):
                found[one.name, shots] = paired_series(results, one, baseline, shots)
    return dict(zip(found, adjust_p_values(list(found.values())), strict=True))


def _difference(paired: PairedDifference | None) -> str:
    if paired is None:
        return "not comparable"
    text = f"{points(paired.difference)} ({points(paired.low)} to {points(paired.high)})"
    return text if paired.verdict == "no difference shown" else Markup("**{}**").format(text)


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


def _best(series: Sequence[MethodSeries]) -> tuple[MethodSeries, int]:
    """The series with the highest mean accuracy, and the shots at which it has it."""
    means = [
        (mean.value, each, shots)
        for each in series
        for shots in each.shots
        if (mean := each.mean("accuracy", shots)) is not None
    ]
    _, best, shots = max(means, key=lambda found: found[0])
    return best, shots


def _confusions(
    database: RunDatabase, results: DatasetResults, series: MethodSeries, shots: int
) -> list[dict[str, Any]]:
    """The three pairs of classes that a series confuses most often."""
    rows: list[dict[str, Any]] = database.query(
        _CONFUSIONS,
        {
            "dataset": results.latest.dataset,
            "encoder": results.latest.encoder,
            "method": series.method,
            "settings": series.settings_fingerprint,
            "choice": series.results[0].run.image_choice,
            "shots": shots,
        },
    ).to_pylist()
    return rows
