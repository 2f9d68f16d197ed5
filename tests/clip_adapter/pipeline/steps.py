"""Steps of the pipeline as a test calls them: in this process, reporting to standard error."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clip_adapter.methods import create_method
from clip_adapter.pipeline import encode, index, maintain, promote
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.plan import RunSpec, SplitSpec, plan_runs
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.train import TrainedRuns, train_runs

__all__ = [
    "compact_store",
    "decide_promotion",
    "encode_dataset",
    "index_dataset",
    "plan",
    "train_methods",
    "verify_store",
]

REPORTER = Reporter()
index_dataset = partial(index.index_dataset, reporter=REPORTER)
encode_dataset = partial(encode.encode_dataset, reporter=REPORTER)
verify_store = partial(maintain.verify_store, reporter=REPORTER)
compact_store = partial(maintain.compact_store, reporter=REPORTER)
decide_promotion = partial(promote.decide_promotion, reporter=REPORTER)


def plan(
    encoded: EncodedDataset,
    *,
    methods: Sequence[str],
    shots: Sequence[int],
    seeds: Sequence[int],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    few_shot_indices: Path | None = None,
    study: str | None = None,
    validation: bool = True,
) -> list[RunSpec]:
    """The runs of a sweep."""
    wanted = [create_method(name, (settings or {}).get(name)) for name in dict.fromkeys(methods)]
    choices = SplitSpec(shots=shots, seeds=seeds, indices=few_shot_indices, validation=validation)
    splits = choices.splits(encoded.dataset.index)
    return plan_runs(encoded, wanted, splits, image_choice=choices.image_choice, study=study)


def train_methods(
    encoded: EncodedDataset,
    *,
    encoding: Encoding | None = None,
    device: str = "cpu",
    retrain: bool = False,
    **sweep: Any,
) -> TrainedRuns:
    """Train what is not recorded of a sweep."""
    return train_runs(
        plan(encoded, **sweep),
        encoded=encoded,
        encoding=encoding,
        device=device,
        retrain=retrain,
        study=sweep.get("study"),
        executor=Executor(),
        reporter=REPORTER,
    )
