"""Put on record how long an extraction took."""

import uuid
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.runs import ExtractionRecord
from clip_adapter.runs import record_extraction as write_extraction
from tasks.references import EncodedDataset

__all__ = ["record_extraction"]


@task(name="record-extraction", cache_policy=NO_CACHE, result_serializer="json")
def record_extraction(encoded: EncodedDataset, *, device: str) -> None:
    """Write down how many images were encoded in how many seconds; nothing where none were.

    Args:
        encoded: what an extraction did.
        device: where it encoded, in torch's spelling.
    """
    if not encoded.n_encoded:
        return
    write_extraction(
        encoded.dataset.root,
        ExtractionRecord(
            extraction_id=uuid.uuid4().hex,
            started_at=datetime.now(UTC) - timedelta(seconds=encoded.seconds),
            dataset=encoded.dataset.name,
            index_fingerprint=encoded.dataset.index_fingerprint,
            encoder=encoded.encoder,
            model=encoded.model,
            device=device,
            n_encoded=encoded.n_encoded,
            n_reused=encoded.n_reused,
            seconds=encoded.seconds,
        ),
    )
