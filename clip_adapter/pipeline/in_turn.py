"""Runs several requests one after the other, and lays their results side by side."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

import pyarrow as pa

from clip_adapter.errors import ClipAdapterError, DatasetError, ParameterError
from clip_adapter.pipeline.extract import encoding_of
from clip_adapter.pipeline.plan import SweepError
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import DatasetRequest
from clip_adapter.progress import duration
from clip_adapter.shots import shots_in_words, shots_to_text
from feature_cache import FeatureCacheError, NotStoredError

AnyRequest = TypeVar("AnyRequest", bound=DatasetRequest)
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that has no result, or not all of it.

    Attributes:
        dataset: dataset as the request names it.
        model: model as the request names it; None for the dataset's default.
        error: what is wrong, and what to do.
        is_partial: whether some runs failed and the others are a result.
    """

    dataset: str
    model: str | None
    error: str
    is_partial: bool = False

    @property
    def pair(self) -> str:
        """The dataset and the model in words."""
        return pair_of(self.dataset, self.model)


def pair_of(dataset: str, model: str | None) -> str:
    """A dataset and a model in words; the model is left out where it is the dataset's default."""
    return f"{dataset} with {model}" if model else dataset


class _Silent(Reporter):
    def log(self, message: str) -> None:
        """Write nothing, as the run of the request logs the same messages."""


SILENT = _Silent()
"""Reporter of the check of a request, whose messages are logged when the request is run."""


def run_in_turn(
    requests: Sequence[AnyRequest],
    run: Callable[[AnyRequest], Result],
    *,
    check: Callable[[AnyRequest], object] = lambda _: None,
    reporter: Reporter,
) -> Iterator[tuple[AnyRequest, Result | Failure]]:
    """Run requests one after the other; one that fails does not stop the others.

    All names are checked before the first is run: what is misspelled ends the call, while a dataset
    whose images are missing is a failure of its own.

    Args:
        requests: requests of one kind.
        run: runs one of them.
        check: raises if a request contradicts itself or names a method or dataset that does not exist.
        reporter: where to report which request is run, and the time left over all.

    Yields:
        Each request with its result, or with the failure. A request of which some runs failed is yielded
        twice: with the result of the other runs, then with the failure.

    Raises:
        ClipAdapterError: a method, dataset or model does not exist, a model is not available, or
            several datasets have one name; the message says why.
    """
    names = {request.name for request in requests} - {None}
    if names and len({request.dataset for request in requests}) > 1:
        raise ParameterError(
            f"--name {names.pop()} is for one folder of images, and several datasets are given: give "
            "each folder its name in a command of its own"
        )
    reporter.log(f"checking {len(requests)} pairs of a dataset and a model")
    missing = [_missing(request, check) for request in requests]
    n_left, seconds = missing.count(""), 0.0
    n_done = 0
    for request, why in zip(requests, missing, strict=True):
        if why:
            yield request, _failure(request, why)
            continue
        left = f", about {duration(seconds / n_done * n_left)} left" if n_done else ""
        number = f"{n_done + 1} of {n_done + n_left}"
        reporter.log(f"{number}: {pair_of(request.dataset, request.model)}{left}")
        start = time.monotonic()
        outcomes: list[Result | Failure]
        try:
            outcomes = [run(request)]
        except SweepError as error:
            some = [] if error.recorded is None else [error.recorded]
            outcomes = [*some, _failure(request, str(error), is_partial=bool(some))]
        except (ClipAdapterError, FeatureCacheError, OSError) as error:
            outcomes = [_failure(request, str(error))]
        seconds += time.monotonic() - start
        n_done, n_left = n_done + 1, n_left - 1
        yield from ((request, outcome) for outcome in outcomes)


def _missing(request: AnyRequest, check: Callable[[AnyRequest], object]) -> str:
    """Reason why the images or features of a request cannot be used; empty if they can."""
    try:
        check(request)
        encoding_of(request, reporter=SILENT)
    except (DatasetError, NotStoredError) as error:
        return str(error)
    return ""


def _failure(request: DatasetRequest, error: str, *, is_partial: bool = False) -> Failure:
    return Failure(dataset=request.dataset, model=request.model, error=error, is_partial=is_partial)


@dataclass(frozen=True, kw_only=True)
class DatasetsTable:
    """Datasets x methods with one model at one number of shots.

    Attributes:
        model: name of the model; empty where each dataset has its default and these differ.
        shots: number of shots; None where runs of a budget have no common one.
        columns: names of the methods, in the order of the request.
        rows: mean over seeds by dataset, then method, a fraction.
        failures: requests without a result or with failed runs, in the order of the requests.
    """

    model: str
    shots: int | None
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]
    failures: tuple[Failure, ...]

    @property
    def whole(self) -> list[str]:
        """The datasets for which every method has a value, over which the mean is taken."""
        return [name for name, row in self.rows.items() if set(self.columns) <= set(row)]

    @property
    def mean(self) -> dict[str, float]:
        """The mean over those datasets, by method; empty where there is none."""
        rows = [self.rows[name] for name in self.whole]
        return {each: fmean(row[each] for row in rows) for each in self.columns} if rows else {}

    @property
    def heading(self) -> str:
        """The model and the number of shots in words."""
        shots = "" if self.shots is None else f", {shots_in_words(self.shots)}"
        return f"{self.model or 'each dataset with its default model'}{shots}"


def datasets_tables(
    results: Sequence[tuple[str | None, pa.Table]],
    failures: Sequence[Failure],
    *,
    column: str,
    value: str,
    shots: Sequence[int] | None = None,
    is_budget: bool = False,
) -> list[DatasetsTable]:
    """Lay the runs of several datasets side by side, a table for each model and number of shots.

    Args:
        results: the model that each request named, and its runs, a row each.
        failures: requests without a result or with failed runs.
        column: column of the runs that names the methods.
        value: column of the runs with the value to show.
        shots: numbers of shots, a table for each; the largest of the runs when None.
        is_budget: whether a budget of images takes the place of shots, so that there is one table.

    Raises:
        ParameterError: no run has one of the numbers of shots.
    """
    named = list(dict.fromkeys([model for model, _ in results] + [each.model for each in failures]))
    runs = {
        model: [row for by, table in results if by == model for row in table.to_pylist()]
        for model in named
    }
    known = sorted({row["shots"] for rows in runs.values() for row in rows})
    if is_budget:
        chosen: list[int | None] = [None]
    else:
        chosen = list(shots or known[-1:] or [0])
    for each in chosen:
        if each is not None and set(known) - {0} and each not in known:
            raise ParameterError(
                f"no run has {shots_in_words(each)}, for which a table is asked: expected one of "
                f"{', '.join(map(shots_to_text, known))}"
            )
    return [
        _table(
            runs[model],
            [each for each in failures if each.model == model],
            shots=each,
            column=column,
            value=value,
        )
        for model in named
        for each in chosen
    ]


def _table(
    rows: Sequence[Mapping[str, Any]],
    failures: Sequence[Failure],
    *,
    shots: int | None,
    column: str,
    value: str,
) -> DatasetsTable:
    values: dict[str, dict[str, list[float]]] = {row["dataset"]: {} for row in rows}
    for row in rows:
        if (shots is None or row["shots"] in {0, shots}) and row[value] is not None:
            values[row["dataset"]].setdefault(row[column], []).append(row[value])
    models = dict.fromkeys([row["model"] for row in rows]) or {
        each.model or "": None for each in failures
    }
    return DatasetsTable(
        model=next(iter(models)) if len(models) == 1 else "",
        shots=shots,
        columns=tuple(dict.fromkeys(name for row in values.values() for name in row)),
        rows={
            name: {method: fmean(found) for method, found in row.items()}
            for name, row in values.items()
        },
        failures=tuple(failures),
    )
