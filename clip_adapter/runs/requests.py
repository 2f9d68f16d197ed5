"""Requests in the order they were made: the last one decides which state of a dataset is current."""

import json
import re
from dataclasses import dataclass
from datetime import datetime

from clip_adapter.runs.append_only import AppendOnlyTable
from clip_adapter.runs.errors import RunStoreError
from feature_cache import Location, write_table

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request about a dataset, whether anything had to be done for it or not.

    Attributes:
        request_id: 32 lower-case hex digits, new for every request.
        sequence: number of the request on its dataset, from 1; the order does not depend on clocks.
        asked_at: time of the request, with a timezone.
        command: name of the command or function that was called, as "train".
        dataset: name of the dataset in the store.
        index_fingerprint: fingerprint of the state in which the dataset was found; None where it
            was not looked at, and then the request does not decide which state is current.
        encoder: fingerprint of the encoder.
        model: name by which the encoder was requested.
        request_fingerprint: fingerprint of everything that determines the answer; None where it
            was not computed.
        parameters: parameters of the request, as a JSON object, with the prompts that were used.
        run_ids: ids of the runs that answer the request, made for it or before.
        run_fingerprints: fingerprints of these runs, also where the ids were not looked up.
        git_commit: commit of the code; None outside a checkout.

    Raises:
        RunStoreError: an id is malformed, the number is not positive, the time has no timezone, or
            the parameters are not a JSON object.
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
        for name in ("run_ids", "run_fingerprints"):  # rows of a table hold lists
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
        """Sort key among the requests on a dataset; the id decides between equal numbers."""
        return self.sequence, self.request_id

    def _wrong(self, found: str, expected: str) -> RunStoreError:
        return RunStoreError(
            f"request {self.request_id!r} on {self.dataset!r}: {found}, expected {expected}"
        )


@dataclass(frozen=True)
class RequestStore(AppendOnlyTable[RequestRecord]):
    """The requests of a store, in the table `requests`.

    Attributes:
        root: location of the store.
    """

    name = "requests"
    make = RequestRecord

    def append(self, record: RequestRecord) -> Location:
        """Record a request.

        Returns:
            The file of the row; nothing is written if the same record was appended before.

        Raises:
            OSError: the disk or object store failed; the request is not recorded.
        """
        return write_table(self.folder, self.row(record), kind=self.name)


def current_index(root: Location, dataset: str) -> str | None:
    """The fingerprint of the index in which a dataset was last requested.

    Args:
        root: location of the store.
        dataset: name of the dataset in the store.

    Returns:
        None where no request that looked at the dataset is recorded, as in stores of versions
        that did not record requests.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of requests is damaged or
            cannot be understood.
    """
    found = [each.index_fingerprint for each in RequestStore(root).history(dataset)]
    return next((each for each in reversed(found) if each is not None), None)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
