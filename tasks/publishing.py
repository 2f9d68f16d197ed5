"""What a run publishes on a Prefect server: artifacts for its UI, and an event about a regression."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    round(100 * accuracy_mean, 1) AS accuracy, round(100 * accuracy_ci95, 1) AS interval,
    round(nll_mean, 3) AS nll, selected_on AS chosen, residual_ratio_median AS ratio,
    round(seconds_train_mean, 2) AS seconds, strftime(last_run, '%Y-%m-%d %H:%M') AS last,
    state[:8] AS state, dataset, encoder, settings_fingerprint, image_choice
FROM leaderboard JOIN (
    SELECT dataset, encoder, any_value(index_fingerprint) AS state FROM current_runs GROUP BY ALL
) USING (dataset, encoder)
WHERE dataset = $dataset
ORDER BY model, shots, accuracy_mean DESC, method, settings_fingerprint, image_choice
"""
"""With the state of the dataset, so that other images that give the same numbers are published anew."""
_NAMED = {"name", "dataset", "encoder", "settings_fingerprint", "image_choice"}
"""Columns for which the names of methods and encoders stand."""


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
        return bool(shown) and shown.data == json.dumps(_leaderboard(root, dataset))
    return False


@task(name="publish-leaderboard", cache_policy=NO_CACHE, result_serializer="json")
def publish_leaderboard(*, root: Location, dataset: str) -> None:
    """Publish the `leaderboard` rows of one dataset as a table artifact; never raises."""
    if not has_audience():
        return
    with publishing("the leaderboard"):
        rows = _leaderboard(root, dataset)
        said = [
            f"Test accuracy on {escape_markdown(dataset)} in percent: mean over seeds",
            "interval: half-width of the 95 % interval",
            "last run in UTC",
            "state: first digits of the fingerprint of the dataset's index",
            *legend(row["method"] for row in rows),
        ]
        create_table_artifact(
            key=artifact_key("leaderboard", dataset), table=rows, description=f"{'; '.join(said)}."
        )


def _leaderboard(root: Location, dataset: str) -> list[dict[str, Any]]:
    with connect(root) as database:
        encoders = name_encoders(database)
        rows = with_names(database, database.query(_BOARD, {"dataset": dataset}).to_pylist())
    return [
        _shown(
            {name: value for name, value in row.items() if name not in _NAMED}
            | {"method": row["name"], "model": encoders[row["encoder"]]}
        )
        for row in rows
    ]


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
        create_markdown_artifact(
            key=artifact_key("summary", dataset.name),
            markdown=summary.markdown,
            description=f"What the latest run on {escape_markdown(dataset.name)} came to.",
        )


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
