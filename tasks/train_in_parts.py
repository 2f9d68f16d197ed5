"""Training split by methods and seeds, each group a task that may run on a machine of its own."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from clip_adapter.methods import create_method
from tasks.references import EncodedDataset, TrainedRuns
from tasks.runners import choose_parts
from tasks.train_methods import SweepError, train_methods

__all__ = ["train_in_parts"]


def train_in_parts(
    encoded: EncodedDataset,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    parts: int | None = None,
    **asked: Any,
) -> TrainedRuns:
    """Train what is not on record yet; for a flow to call.

    Args:
        encoded: a dataset with all its features cached.
        methods: names of methods.
        seeds: of the few-shot choice, initialisation and visiting order.
        parts: about how many tasks to make of it; 1 is a single one, in this process. As
            `choose_parts` says when None.
        asked: everything else that `train_methods` takes.

    Raises as `train_methods`, when all parts have ended.
    """
    parts = choose_parts(parts)
    if parts == 1:
        runs: TrainedRuns = train_methods(encoded, methods=methods, seeds=seeds, **asked)
        return runs
    start, sweep_id = time.perf_counter(), uuid.uuid4().hex
    started = [
        train_methods.submit(encoded, methods=[method], seeds=some, sweep_id=sweep_id, **asked)
        for method, some in _groups(methods, seeds, parts=parts)
    ]
    for future in started:
        future.wait()
    trained = _successes([future.result(raise_on_failure=False) for future in started])
    n_trained = sum(runs.n_trained for runs in trained)
    return TrainedRuns(
        sweep_id=sweep_id if n_trained else "",
        n_trained=n_trained,
        n_reused=sum(runs.n_reused for runs in trained),
        seconds=time.perf_counter() - start,
        fingerprints=tuple(one for runs in trained for one in runs.fingerprints),
    )


def _groups(
    methods: Sequence[str], seeds: Sequence[int], *, parts: int
) -> Iterator[tuple[str, list[int]]]:
    """A method and some seeds each; a method that does not learn makes one run, whatever the seed."""
    each = list(dict.fromkeys(seeds))
    wanted = list(dict.fromkeys(methods))
    n_batches = min(len(each), max(1, -(-parts // len(wanted))))
    for method in wanted:
        if not create_method(method).learns:
            yield method, each
            continue
        for number in range(n_batches):
            yield method, each[number::n_batches]


def _successes(outcomes: Sequence[Any]) -> list[TrainedRuns]:
    """All of them, or the reasons of all that failed."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in failures:
        if not isinstance(failure, SweepError):
            raise failure
    if failures:
        raise SweepError("; ".join(dict.fromkeys(map(str, failures))))
    return list(outcomes)
