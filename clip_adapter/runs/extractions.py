"""What was encoded when, and how long it took: the one place that knows what a feature costs."""

from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa

from clip_adapter.runs.database import RunDatabase
from clip_adapter.runs.errors import InvalidRecordError
from clip_adapter.runs.schemas import EXTRACTIONS
from feature_cache import Location, write_table

# A handful of images says more about how long it takes to begin than about the encoder.
_FEWEST_IMAGES, _FEWEST_SECONDS = 32, 0.5

_RATE = f"""
SELECT sum(n_encoded) / sum(seconds) AS rate FROM extractions
WHERE encoder = '{{}}' AND device = '{{}}'
    AND n_encoded >= {_FEWEST_IMAGES} AND seconds >= {_FEWEST_SECONDS}
"""


@dataclass(frozen=True, kw_only=True)
class ExtractionRecord:
    """One extraction that had something to encode.

    Attributes:
        extraction_id: 32 lower-case hex digits, new for every extraction.
        started_at: with a timezone.
        dataset: its name in the store.
        index_fingerprint: the state in which it was indexed.
        encoder: fingerprint of the encoder; `model` is the name a person knows it by.
        device: where it encoded, in torch's spelling.
        n_encoded: views of images that were encoded.
        n_reused: views whose feature was there already.
        seconds: spent encoding them, decoding included.

    Raises:
        InvalidRecordError: the time has no timezone, or nothing was encoded.
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
            raise InvalidRecordError(
                f"started_at of extraction {self.extraction_id} is {self.started_at} in no "
                "timezone: use datetime.now(UTC)"
            )
        if self.n_encoded < 1 or self.seconds <= 0:
            raise InvalidRecordError(
                f"extraction {self.extraction_id} encoded {self.n_encoded} images in "
                f"{self.seconds} s: record only what took time"
            )


def record_extraction(root: Location, record: ExtractionRecord) -> Location:
    """Write one extraction; recording it again writes nothing new.

    Raises:
        OSError: the disk refused.
    """
    table = pa.Table.from_pylist([asdict(record)], schema=EXTRACTIONS)
    return write_table(root / "runs" / "extractions", table, kind="extractions")


def encoding_rate(database: RunDatabase, *, encoder: str, device: str) -> float | None:
    """Images a second of an encoder on such a device; None where nobody has measured it.

    Args:
        database: on the store.
        encoder: its fingerprint.
        device: in torch's spelling.
    """
    quoted = [text.replace("'", "''") for text in (encoder, device)]
    (row,) = database.query(_RATE.format(*quoted)).to_pylist()
    rate: float | None = row["rate"]
    return rate
