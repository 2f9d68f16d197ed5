"""The model of a request: the one that it names, else the default of its dataset."""

import json

from clip_adapter.encoders import BUILT_IN, DEFAULT_MODEL
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import RequestStore
from clip_adapter.runs.schemas import RUNS
from feature_cache import Location, read_tables
from feature_cache.schemas import pick

OF_CHARACTERS = "digits"
"""The dataset that the built-in encoder was made for."""


def choose_model(model: str | None, *, dataset: str, root: Location, reporter: Reporter) -> str:
    """The model that a request names, else `glyphs` for `digits` and DEFAULT_MODEL for other images.

    In this release a dataset keeps `glyphs` if its last request took that by default, as earlier
    versions did for every dataset.

    Args:
        model: name that the request gives; None if it gives none.
        dataset: name of the dataset in the store.
        root: folder or URL of the store.
        reporter: where to warn, in one line, that `glyphs` encodes other images than `digits`.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of requests or runs is damaged
            or cannot be understood.
    """
    if dataset == OF_CHARACTERS:
        return model or BUILT_IN
    if model is None and _took_built_in(root, dataset):
        reporter.warn(
            f"{dataset} keeps {BUILT_IN}, by default until now: a small encoder that has seen "
            f"printed characters only. The next release takes {DEFAULT_MODEL} here: choose it now "
            f"with --model {DEFAULT_MODEL}, or name --model {BUILT_IN} to go on with it"
        )
        return BUILT_IN
    if model == BUILT_IN:
        reporter.warn(
            f"{dataset} is encoded with {BUILT_IN}, a small encoder that has seen printed characters "
            f"only; its model card describes which images it suits. For photos take "
            f"--model {DEFAULT_MODEL}"
        )
    return model or DEFAULT_MODEL


def _took_built_in(root: Location, dataset: str) -> bool:
    """Whether the last request on a dataset named no model and was answered with `glyphs`.

    Stores of schema 1 have no requests: there all runs of the dataset decide.
    """
    if history := RequestStore(root).history(dataset):
        last = history[-1]
        return last.model == BUILT_IN and json.loads(last.parameters).get("model") is None
    runs = read_tables(root / "runs" / "runs", kind="runs", schema=pick(RUNS, "dataset", "model"))
    models = {row["model"] for row in runs.to_pylist() if row["dataset"] == dataset}
    return models == {BUILT_IN}
