"""Tell in Prefect's UI what a sweep came to, and put the whole report at rest."""

from urllib.parse import quote

import pyarrow as pa
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from clip_adapter.inert import inert, slug
from clip_adapter.settings import Settings
from feature_cache import storage
from tasks.artifact_keys import artifact_key
from tasks.publishing import has_audience, publishing
from tasks.references import EncodedDataset, IndexedDataset, TrainedRuns

__all__ = ["publish_summary"]


@task(name="publish-summary", cache_policy=NO_CACHE, result_serializer="json")
def publish_summary(
    encoded: EncodedDataset, runs: TrainedRuns, *, device: str = "cpu", decision: str = ""
) -> None:
    """Publish a page of Markdown with the picture in it, and write `reports/<dataset>.html`.

    Never raises: what cannot be shown is a warning.

    Args:
        encoded: the dataset, and what its extraction did.
        runs: what the sweep did.
        device: where images are encoded.
        decision: about the champion, in a sentence.
    """
    if not has_audience():
        return
    with publishing("the summary"):
        from clip_adapter import report  # noqa: PLC0415  # draws, which takes a second to import

        dataset = encoded.dataset
        facts = report.SweepFacts(
            dataset=dataset.name,
            index_fingerprint=dataset.index_fingerprint,
            encoder=encoded.encoder,
            device=device,
            n_encoded=encoded.n_encoded,
            n_reused=encoded.n_reused,
            n_trained=runs.n_trained,
            n_on_record=runs.n_reused,
            seconds=runs.seconds,
            decision=decision,
            report=report.Place(**_write_report(dataset)),
        )
        create_markdown_artifact(
            key=artifact_key("summary", dataset.name),
            markdown=report.summarise(dataset.root, facts),
            description=f"What the latest run on {inert(dataset.name)} came to.",
        )


def _write_report(dataset: IndexedDataset) -> dict[str, str]:
    """Where it lies, and under which address it is shown, if it is."""
    from clip_adapter.report import report_as_html  # noqa: PLC0415  # see above

    name = f"{slug(dataset.name)}.html"
    path = dataset.root / "reports" / name
    page = report_as_html(dataset.root, datasets=[dataset.name])
    storage.place(path, pa.py_buffer(page.encode()))
    address = Settings().reports_url
    if not address:
        return {"text": str(path)}
    return {"text": str(path), "address": quote(f"{address.rstrip('/')}/{name}", safe=":/?#&=%~")}
