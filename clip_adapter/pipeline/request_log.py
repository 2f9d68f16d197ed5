"""Records requests; the last one on a dataset decides which state of it is current.

A request also tells the prompts that it was answered with, which a dataset takes from several places.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from clip_adapter.datasets import templates_of
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.pipeline.provenance import digest_values, git_commit
from clip_adapter.pipeline.requests import Request
from clip_adapter.runs import (
    ExtractionRecord,
    RequestRecord,
    RequestStore,
    query,
    record_extraction,
)
from feature_cache import Location

_PLACES = {"root", "data", "device", "parts", "part", "processes"}
"""Parameters that decide where work is done and not what is done."""

_PROMPTS_OF_RUN = """
SELECT templates, class_names, class_prompts FROM runs
WHERE dataset = $dataset AND index_fingerprint = $index AND encoder = $encoder AND study IS NULL
ORDER BY started_at DESC, run_id LIMIT 1
"""


def record_request(
    request: Request,
    *,
    command: str,
    encoded: EncodedDataset,
    fingerprints: Sequence[str] = (),
    run_ids: Sequence[str] = (),
) -> None:
    """Append a request to the store, unless it repeats the last one on the dataset.

    Where every feature was stored already, an extraction is recorded with it that says how many; one that
    encoded something has recorded itself.

    Args:
        request: the parameters of the call.
        command: name of the command or function that was called, as "train".
        encoded: the indexed dataset with its encoder.
        fingerprints: fingerprints of the runs that answer the request, recorded or still to train.
        run_ids: identifiers of runs that answer it in place of others with the same fingerprints.
    """
    dataset = encoded.dataset
    parameters = request.model_dump(mode="json", exclude=_PLACES) | _prompts_of(dataset)
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
    if encoded.n_reused and not encoded.n_encoded and not dataset.is_imported:
        record_extraction(
            dataset.root,
            ExtractionRecord(
                extraction_id=uuid4().hex,
                started_at=datetime.now(UTC),
                dataset=dataset.name,
                index_fingerprint=dataset.index_fingerprint,
                encoder=encoded.encoder,
                model=encoded.model,
                device="",
                n_encoded=0,
                n_reused=encoded.n_reused,
                seconds=0.0,
            ),
        )


def last_prompts(
    root: Location, dataset: str, class_names: Sequence[str], *, index: str, encoder: str
) -> list[list[str]]:
    """The prompts of each class in the last request for a state of a dataset.

    Requests that earlier versions recorded do not tell them: then the last run tells, else the templates
    of the request or the dataset are taken.

    Args:
        root: folder or URL of the store.
        dataset: name of the dataset in the store.
        class_names: names of its classes.
        index: fingerprint of its index.
        encoder: fingerprint of the encoder; a request with another counts where none was made with it.
    """
    history = [r for r in RequestStore(root).history(dataset) if r.index_fingerprint == index]
    history = [each for each in history if each.encoder == encoder] or history
    told = json.loads(history[-1].parameters) if history else {}
    templates: Sequence[str] = told.get("templates") or templates_of(dataset)
    own: Mapping[str, Sequence[str]] = told.get("class_prompts", {})
    if "class_prompts" not in told:
        asked = {"dataset": dataset, "index": index, "encoder": encoder}
        for run in query(root, _PROMPTS_OF_RUN, asked).to_pylist():
            templates = run["templates"]
            own = dict(zip(run["class_names"], run["class_prompts"] or (), strict=False))
    return [
        [prompt.replace("{}", name) for prompt in own.get(name) or templates]
        for name in class_names
    ]


def _prompts_of(dataset: IndexedDataset) -> dict[str, Any]:
    own = dict(zip(dataset.class_names, dataset.class_prompts, strict=False))
    return {
        "templates": list(dataset.templates),
        "class_prompts": {name: list(prompts) for name, prompts in own.items() if prompts},
    }
