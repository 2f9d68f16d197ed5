"""The results that a report shows: what SQL says of each dataset and encoder."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from clip_adapter.errors import UnknownNameError
from clip_adapter.report.numbers import Mean
from clip_adapter.report.statements import statement
from clip_adapter.runs import (
    Configuration,
    RunDatabase,
    RunResult,
    RunStoreError,
    RunView,
    name_encoders,
    read_runs,
    with_names,
    with_words,
)

CLIP_ADAPTER, ZERO_SHOT, ORACLE = "clip-adapter", "zero-shot", "(oracle)"
LOCAL_DIR = "local-dir:"
"""Beginning of the name of a model that lies in a folder."""

Row = Mapping[str, Any]
_Key = tuple[str, str]
"""Name of a dataset, and fingerprint of an encoder."""


@dataclass(frozen=True, kw_only=True)
class MethodSeries:
    """The results of a method with its settings on one choice of training images, at all shots.

    Attributes:
        name: name of the method, with what tells it apart from others of the method.
        rows: by number of shots, a row of the leaderboard with what the statements `cells` and `choices` add.
    """

    name: str
    rows: Mapping[int, Row]

    @property
    def first(self) -> Row:
        """The row of the fewest shots."""
        return self.rows[min(self.rows)]

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.first["method"])

    @property
    def configuration(self) -> Configuration:
        """Method, settings and image choice."""
        return configuration_of(self.first)

    @property
    def shots(self) -> list[int]:
        """Numbers of shots with runs, ascending; 0 alone for a method that uses none."""
        return sorted(self.rows)

    @property
    def uses_shots(self) -> bool:
        """Whether the method uses labelled images."""
        return self.shots != [0]

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return sum(row["seeds"] for row in self.rows.values())

    @property
    def recency(self) -> tuple[int, float, str]:
        """Sort key of the latest run: its request, its start and its id."""
        return max(tuple(row["recency"].values()) for row in self.rows.values())

    def mean(self, metric: str, shots: int) -> Mean | None:
        """The mean of a test metric over seeds; None where there is no value."""
        row = self.rows.get(shots, {})
        value = row.get(f"{metric}_mean")
        if value is None:
            return None
        same_images = row["draws"] == 1 < row["seeds"]
        return Mean(value, row.get(f"{metric}_ci95"), same_images=same_images)


@dataclass(frozen=True, kw_only=True)
class DatasetResults:
    """The results on one dataset with one encoder.

    Attributes:
        about: row of the statement `about`: dataset, encoder, its name, seeds, dates, versions.
        series: methods on the leaderboard, those without shots first, then by name.
        study_runs: runs of studies, with their metrics.
        failures: method, number of runs and last error of runs that failed and were not completed since.
        base_to_new: rows of the view `base_to_new_means`, with a `name`.
        shift: rows of the view `shift_means`, with a `name`.
    """

    about: Row
    series: tuple[MethodSeries, ...]
    study_runs: tuple[RunResult, ...]
    failures: tuple[Row, ...]
    base_to_new: tuple[Row, ...] = ()
    shift: tuple[Row, ...] = ()

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.about["dataset"])

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder."""
        return str(self.about["encoder"])

    @property
    def recency(self) -> tuple[int, float, str]:
        """Sort key of the latest run: its request, its start and its id."""
        asked, started, run_id = self.about["recency"].values()
        return asked, started, run_id

    @property
    def subject(self) -> str:
        """Dataset and encoder in words."""
        return f"{self.dataset} with {self.about['encoder_name']}"

    @property
    def zero_shot(self) -> MethodSeries | None:
        """Zero-shot; of several settings that of the latest run."""
        found = [each for each in self.series if each.method == ZERO_SHOT]
        return max(found, key=lambda each: (each.recency, each.name), default=None)

    @property
    def reference(self) -> MethodSeries | None:
        """CLIP-Adapter with the most runs, and of equals the latest; None without one."""
        found = [each for each in self.series if each.method == CLIP_ADAPTER]
        return max(found, key=lambda each: (each.n_runs, each.recency, each.name), default=None)

    def statement(self, name: str, **values: str | int) -> str:
        """A statement of the report about this dataset and encoder."""
        return statement(name, dataset=self.dataset, encoder=self.encoder, **values)

    @classmethod
    def of(
        cls, about: Row, series: Iterable[MethodSeries], *, names: Mapping[str, str], **others: Any
    ) -> Self:
        """The results in their order."""
        ordered = sorted(series, key=lambda each: (each.uses_shots, each.name))
        named = {**about, "encoder_name": names.get(about["encoder"]) or about["model"]}
        return cls(about=named, series=tuple(ordered), **others)


def read_results(database: RunDatabase, datasets: Sequence[str] = ()) -> list[DatasetResults]:
    """Read the results of every dataset and encoder, in the order of their names.

    Args:
        database: database of the store.
        datasets: names of the datasets to read; all when empty.

    Raises:
        UnknownNameError: a dataset has no completed run.
        RunStoreError: no dataset has a completed run.
    """
    rows = database.query(statement("about")).to_pylist()
    abouts = sorted(rows, key=lambda row: (row["dataset"], row["model"], row["encoder"]))
    _check_datasets(datasets, sorted({row["dataset"] for row in abouts}))
    wanted = [row for row in abouts if not datasets or row["dataset"] in datasets]
    series = _series(database)
    studies = read_measured(database, "study_runs") if any(row["n_study"] for row in wanted) else []
    failures = _grouped(database.query(statement("failures")).to_pylist(), "dataset")
    has_protocols = database.query("SELECT count(*) AS n FROM protocol_runs").to_pylist()[0]["n"]
    base_to_new, shift = (
        _grouped(with_names(database, database.query(f"FROM {view}").to_pylist()), source)
        if has_protocols
        else {}
        for view, source in (("base_to_new_means", "dataset"), ("shift_means", "source"))
    )
    encoders = _short(name_encoders(database))
    return [
        DatasetResults.of(
            about,
            series.get(key, ()),
            names=encoders,
            study_runs=results_of(studies, *key),
            failures=failures.get(key, ()),
            base_to_new=base_to_new.get(key, ()),
            shift=shift.get(key, ()),
        )
        for about in wanted
        for key in [(about["dataset"], about["encoder"])]
    ]


def _short(names: Mapping[str, str]) -> dict[str, str]:
    """Names of encoders without the folders above that of a model on this machine, where they stay apart.

    >>> _short({"a": "local-dir:/models/student", "b": "ViT-B-32"})
    {'a': 'student', 'b': 'ViT-B-32'}
    """
    short = {
        encoder: name.rstrip("/").rpartition("/")[2] if name.startswith(LOCAL_DIR) else name
        for encoder, name in names.items()
    }
    return short if len(set(short.values())) == len(names) else dict(names)


def is_oracle(method: str) -> bool:
    """Whether test images chose a setting of a method, so that it is an upper bound and no result."""
    return method.endswith(ORACLE)


def configuration_of(row: Row) -> Configuration:
    """Method, settings and image choice of a row of a view."""
    return Configuration(row["method"], row["settings_fingerprint"], row["image_choice"])


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


def _series(database: RunDatabase) -> dict[_Key, list[MethodSeries]]:
    board = with_names(database, database.query(statement("accuracy")).to_pylist())
    cells = {_place(row): row for row in database.query(statement("cells")).to_pylist()}
    choices: dict[tuple[Any, ...], dict[str, list[str | None]]] = defaultdict(dict)
    for row in database.query(statement("choices")).to_pylist():
        choices[_place(row)][row["hyperparameter"]] = row["chosen"]
    rows: dict[tuple[_Key, str], dict[int, Row]] = defaultdict(dict)
    several = Counter(_place(row)[:-1] for row in board)
    for found in board:
        place = _place(found)
        # Of runs of one configuration some may have chosen on held-out shots and others on nothing.
        words = f"chosen on {found['selected_on']}" if several[place[:-1]] > 1 else ""
        row = {**found, "name": with_words(found["name"], words)}
        more = {**cells[place], "chosen": choices.get(place, {})}
        rows[(row["dataset"], row["encoder"]), row["name"]][row["shots"]] = {
            **more,
            **_rounded(row),
        }
    series: dict[_Key, list[MethodSeries]] = defaultdict(list)
    for (key, name), of_one in rows.items():
        series[key].append(MethodSeries(name=name, rows=of_one))
    return series


def _rounded(row: Row) -> dict[str, Any]:
    """A row with numbers of twelve digits: the last ones of a mean depend on the order of adding."""
    return {
        name: float(f"{value:.12g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


def _place(row: Row) -> tuple[Any, ...]:
    """The place of a row in the table of accuracies."""
    return row["dataset"], row["encoder"], *configuration_of(row), row["shots"], row["selected_on"]


def _grouped(rows: Iterable[Row], column: str) -> dict[_Key, tuple[Row, ...]]:
    grouped: dict[_Key, tuple[Row, ...]] = defaultdict(tuple)
    for row in rows:
        grouped[row[column], row["encoder"]] += (row,)
    return grouped


def _check_datasets(datasets: Sequence[str], known: Sequence[str]) -> None:
    if not known:
        raise RunStoreError(
            "the store has no completed runs to report on: run `clip-adapter demo` or "
            "`clip-adapter train`"
        )
    for dataset in datasets:
        if dataset not in known:
            raise UnknownNameError("dataset with runs", dataset, known)
