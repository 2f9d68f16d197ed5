"""What a run publishes on a Prefect server: artifacts for its UI, and an event about a regression."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from threading import Thread
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from prefect import task
from prefect.artifacts import Artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.settings import get_current_settings

from clip_adapter.escaping import escape_markdown, slug
from clip_adapter.pipeline.maintain import Maintenance
from clip_adapter.pipeline.train import Training
from clip_adapter.runs import PromotionRecord, connect, legend, name_encoders, with_names
from clip_adapter.settings import Settings
from feature_cache import Location, storage
from tasks.reporter import PrefectReporter, artifact_key

MOST_SHOWN = 20
REGRESSED = "clip-adapter.model.regressed"
"""Name of the event."""

_NUMBERS = (
    "promotion_id",
    "dataset",
    "model",
    "method",
    "shots",
    "seed",
    "run_id",
    "reason",
    "champion_before",
    "n_images",
    "accuracy_challenger",
    "accuracy_champion",
    "low",
    "high",
    "p_value",
    "n_relabelled",
)

_BOARD = """
SELECT
    method, shots, seeds,
    format('{:.1f}', 100 * accuracy_mean) || coalesce(format(' ± {:.1f}', 100 * accuracy_ci95), '') AS accuracy,
    round(nll_mean, 3) AS nll, round(seconds_train_mean, 2) AS seconds,
    last_run, state, dataset, encoder, settings_fingerprint, image_choice
FROM leaderboard JOIN (
    SELECT dataset, encoder, any_value(index_fingerprint) AS state FROM current_runs GROUP BY ALL
) USING (dataset, encoder)
WHERE dataset = $dataset
ORDER BY model, shots, accuracy_mean DESC, method, settings_fingerprint, image_choice
"""
_SHOWN = ("method", "shots", "seeds", "accuracy", "nll", "seconds")
"""Columns of the table: the UI cuts off what is wider than its frame, at 1280 pixels some 700."""


def has_audience() -> bool:
    """Whether the server outlives the run; a private server ends with it and has no viewers."""
    return get_current_settings().api.url is not None


def prepare_to_draw() -> None:
    """Import the drawing libraries in a thread, which takes two seconds, while runs are trained."""
    if has_audience():
        Thread(target=_load, daemon=True).start()


def _load() -> None:
    # An error is raised again, and reported, where the module is used.
    with suppress(Exception):
        from clip_adapter.report import figures  # noqa: PLC0415  # see above

        figures.warm_up()


@contextmanager
def publishing(what: str) -> Iterator[None]:
    """A context in which an error becomes a warning, because the work itself is done."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # of a server, a disk or a renderer
        reason = str(error).partition("\n")[0]  # some messages contain a backtrace
        PrefectReporter().warn(
            f"{what} could not be published, the runs are recorded all the same: {reason}"
        )


def is_published(*, root: Location, dataset: str) -> bool:
    """Whether the UI shows the current leaderboard, the last thing that a run publishes."""
    if not has_audience():
        return True
    with publishing("the leaderboard"):
        shown: Any = Artifact.get(artifact_key("leaderboard", dataset))
        description, rows = _leaderboard(root, dataset)
        return (
            bool(shown)
            and shown.data == json.dumps(rows)
            and shown.description == description  # names the state of the dataset
        )
    return False


@task(name="publish-leaderboard", cache_policy=NO_CACHE, result_serializer="json")
def publish_leaderboard(*, root: Location, dataset: str) -> None:
    """Publish the `leaderboard` rows of one dataset as a table artifact; never raises."""
    if not has_audience():
        return
    with publishing("the leaderboard"):
        description, rows = _leaderboard(root, dataset)
        create_table_artifact(
            key=artifact_key("leaderboard", dataset), table=rows, description=description
        )


def _leaderboard(root: Location, dataset: str) -> tuple[str, list[dict[str, Any]]]:
    """The description and the rows of the table, which name the encoder where there are several.

    The description says which state of the dataset the numbers belong to, so that other images that give
    the same numbers are published anew.
    """
    with connect(root) as database:
        names = name_encoders(database)
        rows = with_names(database, database.query(_BOARD, {"dataset": dataset}).to_pylist())
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    states = ", ".join(dict.fromkeys(row["state"][:8] for row in rows))
    last = max((row["last_run"].astimezone(UTC) for row in rows), default=None)
    on_what = _in_words(dataset, *(names[each] for each in encoders))
    said = [
        f"Test accuracy on {on_what} in percent: mean over seeds ± half-width of the 95 % interval",
        "seconds to train a run",
        *legend(row["name"] for row in rows),
        f"last run {last:%Y-%m-%d %H:%M} UTC" if last else "no run yet",
        *([f"index of the images {states}"] if states else []),
    ]
    several = len(encoders) > 1
    table = [
        _shown(
            {**{name: row[name] for name in _SHOWN}, "method": row["name"]}
            | ({"encoder": names[row["encoder"]]} if several else {})
        )
        for row in rows
    ]
    return f"{'; '.join(said)}.", table


def _in_words(dataset: str, *encoders: str) -> str:
    """A dataset and the encoders of its features, if there are any, escaped."""
    with_what = f" with {', '.join(map(escape_markdown, encoders))}" if encoders else ""
    return f"{escape_markdown(dataset)}{with_what}"


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its texts escaped, since the UI renders them as Markdown."""
    return {
        name: str(escape_markdown(value)) if isinstance(value, str) else value
        for name, value in row.items()
    }


@task(name="publish-summary", cache_policy=NO_CACHE, result_serializer="json")
def publish_summary(training: Training, *, device: str = "cpu") -> None:
    """Publish a page of Markdown with the picture in it, and write `reports/<dataset>.html`.

    Never raises: an error becomes a warning.

    Args:
        training: the result of the training.
        device: device on which images are encoded.
    """
    if not has_audience():
        return
    with publishing("the summary"):
        from clip_adapter.pipeline.summary import summarize  # noqa: PLC0415  # draws, takes a second

        dataset = training.encoded.dataset
        path = dataset.root / "reports" / f"{slug(dataset.name)}.html"
        summary = summarize(
            training, device=device, report_path=str(path), report_url=_address(path.name)
        )
        storage.write_atomic(path, pa.py_buffer(summary.report.encode()))
        artifact: Any = create_markdown_artifact(
            key=artifact_key("summary", dataset.name),
            markdown=summary.markdown,
            description=f"What the latest run on {_in_words(dataset.name, summary.encoder)} came to.",
        )
        if interface := get_current_settings().ui_url:
            PrefectReporter().log(f"summary: {interface}/artifacts/artifact/{artifact}")


def _address(name: str) -> str:
    """The URL of a report on the web server, if there is one."""
    begins = Settings.of().reports_url
    return quote(f"{begins.rstrip('/')}/{name}", safe=":/?#&=%~") if begins else ""


@task(name="publish-maintenance", cache_policy=NO_CACHE, result_serializer="json")
def publish_maintenance(done: Maintenance) -> None:
    """Publish one Markdown artifact, `maintain-stores`; never raises."""
    if not has_audience():
        return
    with publishing("what maintenance did"):
        create_markdown_artifact(
            key="maintain-stores",
            markdown="\n".join(_lines(done)),
            description="What the last maintenance of the stores found and did.",
        )


def _lines(done: Maintenance) -> list[str]:
    verified, compacted, garbage = done.verified, done.compacted, done.garbage
    return [
        "| what | how many |",
        "|---|---:|",
        f"| files verified | {verified.n_files:,} ({verified.size_bytes / 1e6:,.1f} MB) |",
        f"| damaged | {len(verified.damaged):,} |",
        f"| set aside | {verified.n_set_aside:,} |",
        f"| small files merged | {compacted.n_files_before:,} into {compacted.n_files_after:,} |",
        f"| unfinished files removed | {garbage.n_unfinished:,} |",
        f"| unreferenced features dropped | {garbage.n_unreferenced:,} |",
        f"| set-aside files kept for a person | {garbage.n_set_aside:,} |",
        "",
        *(f"- {escape_markdown(each)}" for each in verified.damaged[:MOST_SHOWN]),
    ]


def emit_regression(record: PromotionRecord) -> None:
    """Emit the event about the dataset, with the decision's numbers as its payload."""
    emit_event(
        event=REGRESSED,
        resource={
            "prefect.resource.id": f"clip-adapter.dataset.{record.dataset}",
            "prefect.resource.name": record.dataset,
        },
        payload={name: getattr(record, name) for name in _NUMBERS},
    )
