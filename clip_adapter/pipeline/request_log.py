"""Records requests; the last one on a dataset decides which state of it is current."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.provenance import digest_values, git_commit
from clip_adapter.pipeline.requests import Request
from clip_adapter.runs import RequestRecord, RequestStore

_PLACES = {"root", "data", "device", "parts", "processes"}
"""Parameters that decide where work is done and not what is done."""


def record_request(
    request: Request,
    *,
    command: str,
    encoded: EncodedDataset,
    fingerprints: Sequence[str] = (),
    run_ids: Sequence[str] = (),
) -> None:
    """Append a request to the store, unless it repeats the last one on the dataset.

    Args:
        request: the parameters of the call.
        command: name of the command or function that was called, as "train".
        encoded: the indexed dataset with its encoder.
        fingerprints: fingerprints of the runs that answer the request, recorded or still to train.
        run_ids: identifiers of runs that answer it in place of others with the same fingerprints.
    """
    dataset = encoded.dataset
    parameters = request.model_dump(mode="json", exclude=_PLACES)
    fingerprint = digest_values(
        command=command,
        parameters=parameters,
        index=dataset.index_fingerprint,
        encoder=encoded.encoder,
        runs=sorted([*fingerprints, *run_ids]),
    )
    store = RequestStore(dataset.root)
    history = store.history(dataset.name)
    if history and history[-1].request_fingerprint == fingerprint:
        return
    store.append(
        RequestRecord(
            request_id=uuid4().hex,
            sequence=history[-1].sequence + 1 if history else 1,
            asked_at=datetime.now(UTC),
            command=command,
            dataset=dataset.name,
            index_fingerprint=dataset.index_fingerprint,
            encoder=encoded.encoder,
            model=encoded.model,
            request_fingerprint=fingerprint,
            parameters=json.dumps(parameters, sort_keys=True),
            run_ids=tuple(run_ids),
            run_fingerprints=tuple(fingerprints),
            git_commit=git_commit(),
        )
    )
