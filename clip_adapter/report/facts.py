"""The runs a report tells of, as the store knows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from clip_adapter.errors import ClipAdapterError, UnknownNameError
from clip_adapter.runs import (
    Answers,
    Contestant,
    RunDatabase,
    RunSettings,
    read_answers,
    read_contestants,
)


class NothingToReportError(ClipAdapterError, LookupError):
    """There is no completed run to report on."""


class PageFormatError(ClipAdapterError, ValueError):
    """A file whose name does not say that it is a page of Markdown or HTML."""


SETTINGS = tuple(field.name for field in fields(RunSettings))

_RUNS = """
WITH judged AS (
    SELECT run_id, map_from_entries(list((split || ' ' || name, value))) AS metrics
    FROM metrics GROUP BY run_id
)
SELECT * EXCLUDE (candidates, versions),
    list_sort(map_keys(candidates[1].settings)) AS chosen
FROM {} JOIN judged USING (run_id)
ORDER BY dataset, encoder, method, settings_fingerprint, shots, seed, started_at
"""

_FAILURES = """
WITH asked AS (FROM runs LEFT JOIN asked_runs USING (run_id))
SELECT dataset, encoder, method, count(*)::INTEGER AS n,
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
class RunFacts:
    """One completed run.

    Attributes:
        settings: hyper-parameters as finally used, those that the method has.
        chosen: names of the hyper-parameters that a grid was tried for.
        metrics: by split and name, as "test accuracy".
        asked: the number of the last request that it answers; None where no request does.
    """

    run_id: str
    dataset: str
    encoder: str
    model: str
    method: str
    shots: int
    seed: int | None
    settings_fingerprint: str
    study: str | None
    templates: tuple[str, ...]
    settings: Mapping[str, Any]
    chosen: tuple[str, ...]
    selected_on: str
    seconds_train: float
    n_test: int
    n_leaked: int
    started_at: datetime
    git_commit: str | None
    precision: str
    metrics: Mapping[str, float]
    asked: int | None

    @property
    def recency(self) -> tuple[int, float, str]:
        """By which the latest of several is found: the clock counts where no request names any."""
        started = self.started_at.timestamp() if self.asked is None else 0.0
        return self.asked or 0, started, self.run_id


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Runs of a method that failed and were not made since; `error` is that of the last one."""

    method: str
    n_runs: int
    error: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything about one dataset seen through one encoder.

    Attributes:
        runs: those that stand on the leaderboard.
        study_runs: those that were made for a study.
        contestants: the same as `runs`, ready to be compared.
        answers: what those got right, by run id.
        failures: what there is nothing to report of.
    """

    runs: tuple[RunFacts, ...]
    study_runs: tuple[RunFacts, ...]
    contestants: tuple[Contestant, ...]
    answers: Mapping[str, Answers]
    failures: tuple[Failure, ...]

    @property
    def all_runs(self) -> tuple[RunFacts, ...]:
        """Runs of both sorts; never empty."""
        return self.runs + self.study_runs

    @property
    def latest(self) -> RunFacts:
        """The run that was asked for last."""
        return max(self.all_runs, key=lambda run: run.recency)


def read_boards(database: RunDatabase, datasets: Sequence[str] = ()) -> list[Board]:
    """One board a dataset and encoder, in the order of their names.

    Args:
        database: on the store.
        datasets: those to report on; all when empty.

    Raises:
        UnknownNameError: a dataset has no completed run.
        NothingToReportError: no dataset has.
    """
    runs = _facts(database, "current_runs")
    study_runs = _facts(database, "study_runs")
    known = sorted({run.dataset for run in (*runs, *study_runs)})
    if not known:
        raise NothingToReportError(
            "the store has no completed runs to report on: run `clip-adapter demo` or "
            "`clip-adapter train`"
        )
    for dataset in datasets:
        if dataset not in known:
            raise UnknownNameError("dataset with runs", dataset, known)
    wanted = set(datasets) or set(known)
    contestants = [each for each in read_contestants(database) if each.dataset in wanted]
    answers = read_answers(database, contestants)
    failures = database.query(_FAILURES).to_pylist()
    keys = {(run.dataset, run.model, run.encoder) for run in _latest((*runs, *study_runs))}
    return [
        Board(
            runs=_of(runs, dataset, encoder),
            study_runs=_of(study_runs, dataset, encoder),
            contestants=_of(contestants, dataset, encoder),
            answers=answers,
            failures=_failures(failures, dataset, encoder),
        )
        for dataset, _, encoder in sorted(keys)
        if dataset in wanted
    ]


def read_study_runs(database: RunDatabase, *, dataset: str, encoder: str) -> tuple[RunFacts, ...]:
    """The runs that were made for studies, as the board of that dataset and encoder has them."""
    return _of(_facts(database, "study_runs"), dataset, encoder)


def _facts(database: RunDatabase, view: str) -> tuple[RunFacts, ...]:
    return tuple(_run(row) for row in database.query(_RUNS.format(view)).to_pylist())


def _run(row: Mapping[str, Any]) -> RunFacts:
    own = {field.name for field in fields(RunFacts)} - {"settings"}
    given = {name: row[name] for name in own}
    given["templates"] = tuple(row["templates"])
    given["chosen"] = tuple(row["chosen"] or ())
    given["metrics"] = dict(row["metrics"])
    settings = {name: row[name] for name in SETTINGS if row[name] is not None}
    return RunFacts(settings=settings, **given)


def _latest(runs: Iterable[RunFacts]) -> list[RunFacts]:
    """One run a dataset and encoder, whose model is the name the encoder was last asked for by."""
    ordered = sorted(runs, key=lambda run: run.recency)
    return list({(run.dataset, run.encoder): run for run in ordered}.values())


def _of(things: Iterable[Any], dataset: str, encoder: str) -> tuple[Any, ...]:
    return tuple(each for each in things if (each.dataset, each.encoder) == (dataset, encoder))


def _failures(rows: Iterable[Mapping[str, Any]], dataset: str, encoder: str) -> tuple[Failure, ...]:
    return tuple(
        Failure(method=row["method"], n_runs=row["n"], error=row["error"] or "")
        for row in rows
        if (row["dataset"], row["encoder"]) == (dataset, encoder)
    )
