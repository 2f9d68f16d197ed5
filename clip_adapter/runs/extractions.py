"""Extractions: how many images were encoded in how many seconds, and how many were not."""

from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa

from clip_adapter.runs.database import RunDatabase
from clip_adapter.runs.errors import RunStoreError
from clip_adapter.runs.schemas import EXTRACTIONS
from feature_cache import Location, write_table

_RATE = """
SELECT images_per_second FROM internal.encoding_rates WHERE encoder = $encoder AND device = $device
"""


@dataclass(frozen=True, kw_only=True)
class ExtractionRecord:
    """One extraction that encoded an image, or of a new request that found every feature stored.

    Attributes:
        extraction_id: 32 lower-case hex digits, new for every extraction.
        started_at: time at which the extraction began, with a timezone.
        dataset: name of the dataset in the store.
        index_fingerprint: fingerprint of the dataset's index.
        encoder: fingerprint of the encoder.
        model: name by which the encoder was requested.
        device: torch device of the encoder; empty where nothing was encoded.
        n_encoded: number of views of images that were encoded.
        n_reused: number of views whose feature was stored before.
        seconds: time spent decoding and encoding.

    Raises:
        RunStoreError: the time has no timezone, or the counts contradict the seconds.
    """

    extraction_id: str
    started_at: datetime
    dataset: str
    index_fingerprint: str
    encoder: str
    model: str
    device: str
    n_encoded: int
    n_reused: int
    seconds: float

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is None:
            raise RunStoreError(
                f"started_at of extraction {self.extraction_id} is {self.started_at} in no "
                "timezone: use datetime.now(UTC)"
            )
        counts = self.n_encoded, self.n_reused
        if min(counts) < 0 or not any(counts) or (self.n_encoded > 0) != (self.seconds > 0):
            raise RunStoreError(
                f"extraction {self.extraction_id} encoded {self.n_encoded} images in {self.seconds} s and "
                f"reused {self.n_reused}: expected images, and time where some were encoded"
            )


def record_extraction(root: Location, record: ExtractionRecord) -> Location:
    """Record an extraction; recording it again writes nothing.

    Raises:
        OSError: the disk or object store failed.
    """
    table = pa.Table.from_pylist([asdict(record)], schema=EXTRACTIONS)
    return write_table(root / "runs" / "extractions", table, kind="extractions")


def encoding_rate(database: RunDatabase, *, encoder: str, device: str) -> float | None:
    """Recorded images a second of an encoder on a kind of device; None where there is no record.

    Args:
        database: database of the store.
        encoder: fingerprint of the encoder.
        device: torch device of the encoder.
    """
    rates = database.query(_RATE, {"encoder": encoder, "device": device})
    found: list[float] = rates["images_per_second"].to_pylist()
    return found[0] if found else None
