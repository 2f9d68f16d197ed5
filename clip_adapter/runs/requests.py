"""What was asked for, in order: from it follows which state of a dataset is the current one."""

import json
import re
from dataclasses import dataclass
from datetime import datetime

from clip_adapter.runs.errors import InvalidRecordError
from clip_adapter.runs.numbered import NumberedTable
from clip_adapter.runs.schemas import REQUESTS
from feature_cache import Location, write_table

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request about a dataset, whether anything had to be done for it or not.

    Attributes:
        request_id: 32 lower-case hex digits, new for every request.
        sequence: One more than the request before on this dataset, from 1: the order does not
            depend on clocks.
        asked_at: With a timezone.
        command: By which name it was asked for, as "train".
        dataset: Its name in the store.
        index_fingerprint: The state the dataset was found in; None where nobody looked, and then
            the request does not decide which state is current.
        encoder: Fingerprint of the encoder; `model` is the name it was asked for by.
        request_fingerprint: Of everything that determines the answer; None where not computed.
        parameters: What was asked, as a JSON object.
        run_ids: The runs that answer it, made now or before.
        run_fingerprints: Their fingerprints, also where the ids were not looked up.

    Raises:
        InvalidRecordError: An id is malformed, the number is not positive, the time has no
            timezone, or the parameters are no JSON object.
    """

    request_id: str
    sequence: int
    asked_at: datetime
    command: str
    dataset: str
    index_fingerprint: str | None
    encoder: str | None = None
    model: str | None = None
    request_fingerprint: str | None = None
    parameters: str = "{}"
    run_ids: tuple[str, ...] = ()
    run_fingerprints: tuple[str, ...] = ()
    git_commit: str | None = None

    def __post_init__(self) -> None:
        for name in ("run_ids", "run_fingerprints"):  # lists, as rows of a table have them
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for found in (self.request_id, *self.run_ids):
            if not _ID.fullmatch(found):
                raise self._wrong(f"an id is {found!r}", "32 lower-case hex digits")
        if self.sequence < 1:
            raise self._wrong(f"sequence is {self.sequence}", "1 or more")
        if self.asked_at.tzinfo is None:
            raise self._wrong(f"asked_at is {self.asked_at} in no timezone", "datetime.now(UTC)")
        if not _is_json_object(self.parameters):
            raise self._wrong(f"parameters are {self.parameters!r:.80}", "a JSON object")

    @property
    def order(self) -> tuple[int, str]:
        """By which the requests on a dataset are sorted; of two at once the id decides."""
        return self.sequence, self.request_id

    def _wrong(self, found: str, expected: str) -> InvalidRecordError:
        return InvalidRecordError(
            f"request {self.request_id!r} on {self.dataset!r}: {found}, expected {expected}"
        )


@dataclass(frozen=True)
class RequestStore:
    """Requests under `<root>/runs/requests`; any number of processes may add at once.

    Attributes:
        root: Of everything at rest.
    """

    root: Location

    def history(self, dataset: str) -> list[RequestRecord]:
        """Every request on a dataset, in order; none where there is none.

        Raises:
            CorruptFileError, NewerFormatError, WrongSchemaError: A file of requests cannot be
                trusted or understood.
        """
        return self._table.history(dataset)

    def next_sequence(self, dataset: str) -> int:
        """The number for the next request on a dataset, from 1; raises as `history`."""
        return self._table.next_sequence(dataset)

    def append(self, record: RequestRecord) -> Location:
        """Add a request, when the runs that answer it are recorded.

        Returns:
            The file of the row; adding the same record again writes nothing.

        Raises:
            OSError: The disk or the object store refused; the request is not recorded.
        """
        return write_table(self._table.folder, self._table.row(record), kind="requests")

    @property
    def _table(self) -> NumberedTable[RequestRecord]:
        folder = self.root / "runs" / "requests"
        return NumberedTable(folder=folder, schema=REQUESTS, make=RequestRecord)


def current_index(root: Location, dataset: str) -> str | None:
    """The fingerprint of the index that a dataset was last asked for in.

    Args:
        root: Of everything at rest.
        dataset: Its name in the store.

    Returns:
        None where no request is recorded that looked at the dataset, as in stores of before.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: A file of requests cannot be trusted
            or understood.
    """
    found = [each.index_fingerprint for each in RequestStore(root).history(dataset)]
    return next((each for each in reversed(found) if each is not None), None)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
