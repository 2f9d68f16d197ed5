"""What champions rest on: decisions, the runs that they cite, and the images of these."""

from dataclasses import dataclass

import pyarrow as pa

from clip_adapter.pipeline.stored_rows import is_in, open_all, read_rows
from clip_adapter.runs import PromotionStore, last_champion
from clip_adapter.runs.schemas import PREDICTIONS, RUNS, SPLITS
from feature_cache import IndexStore, Location, StoredFolder
from feature_cache.schemas import pick


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a champion rests on.

    Attributes:
        n_decisions: number of decisions on the dataset; 0 where none set a champion.
        run_ids: runs that they cite.
        splits: fingerprints of the few-shot splits of these runs.
        images: digests of the images of these splits and of the runs' predictions.
    """

    n_decisions: int
    run_ids: frozenset[str]
    splits: frozenset[str]
    images: pa.Array


def evidence_on(root: Location, dataset: str) -> Evidence:
    """What the champions of a dataset rest on, the current one and those before it.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of runs is damaged.
    """
    history = PromotionStore(root).history(dataset)
    if last_champion(history) is None:
        history = []
    run_ids = frozenset(record.run_id for record in history)
    runs = read_rows(root, "runs", "run_id", "split_fingerprint", schema=RUNS)
    runs = runs.filter(is_in(runs["run_id"], run_ids))
    splits = frozenset(runs.column("split_fingerprint").to_pylist())
    named = [
        *_image_digests(root, "splits", "split_fingerprint", splits, schema=SPLITS),
        *_image_digests(root, "predictions", "run_id", run_ids, schema=PREDICTIONS),
    ]
    images = pa.concat_arrays([pa.array([], pa.binary(32)), *named]).unique()
    return Evidence(n_decisions=len(history), run_ids=run_ids, splits=splits, images=images)


def _image_digests(
    root: Location, table: str, key: str, values: frozenset[str], *, schema: pa.Schema
) -> list[pa.Array]:
    """Digests of the images in the rows with one of the values, a file at a time."""
    if not values:
        return []
    wanted = pick(schema, key, "image_sha256")
    rows = (file.read_as(wanted) for file in open_all(StoredFolder(root / "runs" / table, table)))
    return [
        each.filter(is_in(each[key], values))["image_sha256"].combine_chunks().unique()
        for each in rows
    ]


def evidence_images(root: Location) -> pa.Array:
    """Digests of the images that promoted runs of forgotten datasets name, which no index names.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of runs or an index is damaged.
    """
    cited: dict[str, set[str]] = {}
    for record in PromotionStore(root).records():
        cited.setdefault(record.dataset, set()).add(record.index_fingerprint)
    forgotten = [
        name for name, states in cited.items() if states - IndexStore(root, name).fingerprints()
    ]
    found = [evidence_on(root, name).images for name in forgotten]
    return pa.concat_arrays([pa.array([], pa.binary(32)), *found])
