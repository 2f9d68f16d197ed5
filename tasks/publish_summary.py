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
from tasks.references import EncodedDataset, TrainedRuns

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
        path = dataset.root / "reports" / f"{slug(dataset.name)}.html"
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
            report=report.Place(text=str(path), address=_address(path.name)),
        )
        told = report.tell(dataset.root, facts)
        storage.place(path, pa.py_buffer(told.report.encode()))
        create_markdown_artifact(
            key=artifact_key("summary", dataset.name),
            markdown=told.summary,
            description=f"What the latest run on {inert(dataset.name)} came to.",
        )


def _address(name: str) -> str:
    """Where a web server shows that report, if one does."""
    begins = Settings().reports_url
    return quote(f"{begins.rstrip('/')}/{name}", safe=":/?#&=%~") if begins else ""
