"""The results that a report shows: the runs of each dataset and encoder, as series of methods."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clip_adapter.errors import UnknownNameError
from clip_adapter.report.numbers import Mean, mean_of
from clip_adapter.runs import (
    Configuration,
    Correctness,
    MethodResults,
    RunDatabase,
    RunRecord,
    RunResult,
    RunStoreError,
    RunView,
    name_configurations,
    name_encoders,
    read_correctness,
    read_runs,
    with_names,
)

CLIP_ADAPTER = "clip-adapter"

_FAILURES = """
WITH asked AS (FROM runs LEFT JOIN asked_runs USING (run_id))
SELECT dataset, encoder, method, count(*)::INTEGER AS n_runs,
    arg_max(error, (coalesce(asked, 0), started_at, run_id)) AS error
FROM asked AS failed WHERE status = 'failed' AND NOT EXISTS (
    FROM asked AS made
    WHERE made.status = 'completed'
        AND CASE WHEN made.asked <> failed.asked THEN made.asked > failed.asked
            ELSE made.started_at >= failed.started_at END
        AND made.dataset = failed.dataset AND made.encoder = failed.encoder
        AND made.method = failed.method
        AND made.settings_fingerprint = failed.settings_fingerprint AND made.shots = failed.shots
        AND made.seed IS NOT DISTINCT FROM failed.seed
        AND made.study IS NOT DISTINCT FROM failed.study
)
GROUP BY dataset, encoder, method ORDER BY dataset, encoder, method
"""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Failed runs of a method that were not completed since.

    Attributes:
        method: name of the method.
        n_runs: number of failed runs.
        error: error of the last of them.
    """

    method: str
    n_runs: int
    error: str


@dataclass(frozen=True, kw_only=True)
class DatasetResults:
    """The results on one dataset with one encoder.

    Attributes:
        runs: runs of the leaderboard, with their metrics.
        study_runs: runs of studies, with their metrics.
        correctness: what the runs of the leaderboard classify correctly, by run id.
        failures: runs that failed.
        base_to_new_runs: runs that were trained on half of the classes, with their metrics.
        base_to_new: rows of the view `base_to_new_means`, with a `name`.
        shift: rows of the view `shift_means`, with a `name`.
        encoder_name: name of the encoder, with what tells it apart from others of that name.
    """

    runs: tuple[RunResult, ...]
    study_runs: tuple[RunResult, ...]
    correctness: Mapping[str, Correctness]
    failures: tuple[Failure, ...]
    base_to_new_runs: tuple[RunResult, ...] = ()
    base_to_new: tuple[Mapping[str, Any], ...] = ()
    shift: tuple[Mapping[str, Any], ...] = ()
    encoder_name: str = ""

    @property
    def all_runs(self) -> tuple[RunResult, ...]:
        """Runs that were tested on the dataset itself; at least one."""
        return self.runs + self.study_runs + self.base_to_new_runs

    @property
    def latest(self) -> RunRecord:
        """The run that was requested last."""
        return max(self.all_runs, key=lambda result: result.recency).run


def read_results(database: RunDatabase, datasets: Sequence[str] = ()) -> list[DatasetResults]:
    """Read the results of every dataset and encoder, in the order of their names.

    Args:
        database: database of the store.
        datasets: names of the datasets to read; all when empty.

    Raises:
        UnknownNameError: a dataset has no completed run.
        RunStoreError: no dataset has a completed run.
    """
    runs, study_runs, others = (
        read_measured(database, view) for view in ("current_runs", "study_runs", "protocol_runs")
    )
    halves = [each for each in others if each.run.protocol == "base-to-new"]
    latest = sorted((*runs, *study_runs, *halves), key=lambda result: result.recency)
    # The model is the name by which the encoder was requested last.
    models = {(each.run.dataset, each.run.encoder): each.run.model for each in latest}
    _check_datasets(datasets, sorted({dataset for dataset, _ in models}))
    wanted = {key for key in models if not datasets or key[0] in datasets}
    chosen = [each.run for each in runs if (each.run.dataset, each.run.encoder) in wanted]
    correctness = read_correctness(database, chosen)
    failures = database.query(_FAILURES).to_pylist()
    base_to_new, shift = (
        with_names(database, database.query(f"FROM {view}").to_pylist())
        for view in ("base_to_new_means", "shift_means")
    )
    encoders = name_encoders(database)
    return [
        DatasetResults(
            runs=results_of(runs, dataset, encoder),
            study_runs=results_of(study_runs, dataset, encoder),
            correctness=correctness,
            failures=_failures(failures, dataset, encoder),
            base_to_new_runs=results_of(halves, dataset, encoder),
            base_to_new=_rows_of(base_to_new, "dataset", dataset, encoder),
            shift=_rows_of(shift, "source", dataset, encoder),
            encoder_name=encoders[encoder],
        )
        for dataset, encoder in sorted(wanted, key=lambda key: (key[0], models[key], key[1]))
    ]


def read_measured(database: RunDatabase, view: RunView) -> list[RunResult]:
    """Read the runs of a view that have metrics, as `read_runs` does."""
    return [result for result in read_runs(database, view) if result.metrics]


def results_of(results: Iterable[RunResult], dataset: str, encoder: str) -> tuple[RunResult, ...]:
    """The results on one dataset with one encoder."""
    key = dataset, encoder
    return tuple(each for each in results if (each.run.dataset, each.run.encoder) == key)


def train_on_same_images(results: Iterable[RunResult]) -> bool:
    """Whether all results are known to come from the same training images."""
    found = {each.training_images for each in results}
    return len(found) == 1 and None not in found


def settings_of(run: RunRecord) -> dict[str, Any]:
    """The settings of a run that its method has, by name."""
    return {name: value for name, value in vars(run.settings).items() if value is not None}


def _check_datasets(datasets: Sequence[str], known: Sequence[str]) -> None:
    if not known:
        raise RunStoreError(
            "the store has no completed runs to report on: run `clip-adapter demo` or "
            "`clip-adapter train`"
        )
    for dataset in datasets:
        if dataset not in known:
            raise UnknownNameError("dataset with runs", dataset, known)


def _rows_of(
    rows: Iterable[Mapping[str, Any]], column: str, dataset: str, encoder: str
) -> tuple[Mapping[str, Any], ...]:
    return tuple(row for row in rows if (row[column], row["encoder"]) == (dataset, encoder))


def _failures(rows: Iterable[Mapping[str, Any]], dataset: str, encoder: str) -> tuple[Failure, ...]:
    return tuple(
        Failure(method=row["method"], n_runs=row["n_runs"], error=row["error"] or "")
        for row in rows
        if (row["dataset"], row["encoder"]) == (dataset, encoder)
    )


@dataclass(frozen=True, kw_only=True)
class MethodSeries:
    """The results of a method with its settings on one choice of training images, at all shots.

    Attributes:
        name: name of the method, with what tells it apart from others of the method.
        results: runs with their metrics, ordered by shots and seed.
    """

    name: str
    results: tuple[RunResult, ...]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.results[0].run.method

    @property
    def settings_fingerprint(self) -> str:
        """Fingerprint of the settings and prompts."""
        return self.results[0].run.settings_fingerprint

    @property
    def shots(self) -> list[int]:
        """Numbers of shots with runs, ascending; 0 alone for a method that uses none."""
        return sorted({result.run.shots for result in self.results})

    @property
    def recency(self) -> tuple[int, float, str]:
        """Sort key of the latest run, as `RunResult.recency`."""
        return max(result.recency for result in self.results)

    def at(self, shots: int) -> list[RunResult]:
        """The results at a number of shots, one for each seed."""
        return [result for result in self.results if result.run.shots == shots]

    def comparable(self, shots: int) -> MethodResults:
        """The runs to compare at a number of shots; those of a method without shots at any."""
        runs = [result.run for result in self.results if result.run.shots in {0, shots}]
        return MethodResults(tuple(runs), self.name)

    def mean(self, metric: str, shots: int, *, split: str = "test") -> Mean | None:
        """The mean of a metric over seeds; None where there is no value."""
        having = [each for each in self.at(shots) if (split, metric) in each.metrics]
        if not having:
            return None
        values = [each.metrics[split, metric] for each in having]
        return mean_of(values, same_images=train_on_same_images(having))


def method_series(results: Sequence[RunResult]) -> list[MethodSeries]:
    """One series for each method, settings and image choice, methods without shots first, then by name."""
    names = name_configurations(result.run for result in results)
    grouped: dict[Configuration, list[RunResult]] = defaultdict(list)
    for result in results:
        grouped[Configuration.of(result.run)].append(result)
    series = [
        MethodSeries(name=names[each], results=tuple(of_one)) for each, of_one in grouped.items()
    ]
    return sorted(series, key=lambda each: (each.shots != [0], each.name))


def accuracy_rows(series: Sequence[MethodSeries]) -> list[dict[str, Any]]:
    """The mean test accuracy of every series at every number of shots, as `figures.accuracy` takes it."""
    return [
        {
            "name": each.name,
            "shots": shots,
            "accuracy_mean": mean.value,
            "accuracy_ci95": mean.half_width,
            "seeds": len(each.at(shots)),
        }
        for each in series
        for shots in each.shots
        if (mean := each.mean("accuracy", shots)) is not None
    ]


def reference_series(series: Sequence[MethodSeries]) -> MethodSeries | None:
    """The series of CLIP-Adapter with the most runs, and of equals the latest; None without one."""
    candidates = [each for each in series if each.method == CLIP_ADAPTER]
    return max(
        candidates, key=lambda each: (len(each.results), each.recency, each.name), default=None
    )
