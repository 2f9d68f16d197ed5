"""Fit every planned run, evaluate it once on the test split, put it on record."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods import Method, create_method
from clip_adapter.runs import RunResult, RunStore
from clip_adapter.shots import shots_in_words
from tasks.arrays import DatasetArrays
from tasks.devices import choose_device
from tasks.plans import FewShotChoices, PlannedRun, n_views, plan_runs
from tasks.progress import say, track
from tasks.publishing import prepare_to_draw
from tasks.references import EncodedDataset, Encoding, TrainedRuns
from tasks.results import Sweep, completed_run, failed_run
from tasks.stored_indexes import read_index
from tasks.text_towers import load_text_tower

__all__ = ["SweepError", "train_methods"]


class SweepError(ClipAdapterError, RuntimeError):
    """Some methods of a sweep could not be trained; the others are on record."""


@task(name="train-methods", cache_policy=NO_CACHE, result_serializer="json")
def train_methods(
    encoded: EncodedDataset,
    *,
    methods: Sequence[str],
    shots: Sequence[int],
    seeds: Sequence[int],
    few_shot_indices: Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    encoding: Encoding | None = None,
    device: str = "auto",
    retrain: bool = False,
    study: str | None = None,
    variant: str = "",
    sweep_id: str | None = None,
) -> TrainedRuns:
    """Train what is not on record yet; every method's runs are recorded as soon as it is done.

    Args:
        encoded: a dataset with all its features cached.
        methods: names of methods.
        shots: labelled images a class.
        seeds: of the few-shot choice, initialisation and visiting order.
        few_shot_indices: folder of published choices, whose numbers the seeds then are.
        settings: by method, what differs from its defaults.
        encoding: with what the dataset was encoded, for methods that need the text tower.
        device: where to train, in torch's spelling, or "auto".
        retrain: train again what is on record.
        study: the ablation the runs are made for.
        variant: which of its variants they are, for whoever watches.
        sweep_id: what its runs have in common with those of other tasks; else a new one.

    Raises:
        NotEnoughImagesError: if a class has fewer images than shots; nothing is trained.
        SweepError: if some runs failed; they are recorded as failed, the others stand.
    """
    index = read_index(encoded.dataset)
    wanted = [create_method(name, (settings or {}).get(name)) for name in dict.fromkeys(methods)]
    choices = FewShotChoices(shots=shots, seeds=seeds, indices=few_shot_indices)
    plans = plan_runs(encoded, index, wanted, choices=choices, study=study)
    store = RunStore(encoded.dataset.root)
    known = set() if retrain else store.completed(plan.fingerprint for plan in plans)
    todo = [plan for plan in plans if plan.fingerprint not in known]
    sweep_id = sweep_id or uuid.uuid4().hex
    sweep = Sweep(
        DatasetArrays(encoded, index), choose_device(device), sweep_id, study, variant=variant
    )
    start = time.perf_counter()
    if todo:
        prepare_to_draw()
    failures = [
        error
        for method, group in groupby(todo, key=lambda plan: plan.method)
        for error in _train(sweep, store, method, list(group), encoding=encoding)
    ]
    if failures:
        raise SweepError("; ".join(dict.fromkeys(failures)))
    return TrainedRuns(
        sweep_id=sweep.sweep_id if todo else "",
        n_trained=len(todo),
        n_reused=len(plans) - len(todo),
        seconds=time.perf_counter() - start,
        fingerprints=tuple(plan.fingerprint for plan in plans),
    )


def _train(
    sweep: Sweep,
    store: RunStore,
    method: Method,
    plans: list[PlannedRun],
    *,
    encoding: Encoding | None,
) -> list[str]:
    """Train one method's runs and record them; the reasons of those that failed."""
    try:
        if encoding and method.needs_text_tower:
            arrays = replace(
                sweep.arrays, text_tower=load_text_tower(sweep.arrays.encoded, encoding)
            )
            sweep = replace(sweep, arrays=arrays)
        store.record(_fit(sweep, method, plans))
    except ClipAdapterError:
        # All were trained as one: one that cannot be must not take the others with it.
        results, failures = _fit_one_by_one(sweep, method, plans)
        store.record(results)
        return failures
    return []


def _fit(sweep: Sweep, method: Method, plans: list[PlannedRun]) -> list[RunResult]:
    views = sweep.arrays.encoded.views_for(n_views(method))
    tasks = [sweep.arrays.task(plan.split, views=views) for plan in plans]
    with track(f"training {sweep.called(method)}", total=len(plans), unit="runs") as advance:
        fitted = method.fit(
            tasks, device=sweep.device, progress=lambda part: advance(part * len(plans))
        )
    return [completed_run(sweep, *each) for each in zip(plans, fitted, strict=True)]


def _fit_one_by_one(
    sweep: Sweep, method: Method, plans: list[PlannedRun]
) -> tuple[list[RunResult], list[str]]:
    results: list[RunResult] = []
    failures: list[str] = []
    for plan in plans:
        try:
            results += _fit(sweep, method, [plan])
        except ClipAdapterError as error:
            name = sweep.called(method)
            say(f"{name} failed at {shots_in_words(plan.shots)}, seed {plan.seed}: {error}")
            results.append(failed_run(sweep, plan, str(error)))
            failures.append(f"{name}: {error}")
    return results, failures
