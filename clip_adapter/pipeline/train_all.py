"""Training on several datasets with several models, and their results side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.in_turn import (
    SILENT,
    DatasetsTable,
    Failure,
    datasets_tables,
    run_in_turn,
)
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import TrainRequest, accepts_several
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.pipeline.targets import check_targets
from clip_adapter.pipeline.train import Training, requested_methods, train


@dataclass(frozen=True, kw_only=True)
class TrainedDatasets(TabularResult):
    """The results of several training requests.

    Attributes:
        trainings: the request and the result of each that has one, without runs that failed.
        failures: requests without a result, as a dataset whose images are missing, and those of which some
            runs failed, whose other runs are among the trainings.
    """

    trainings: tuple[tuple[TrainRequest, Training], ...]
    failures: tuple[Failure, ...]

    @classmethod
    def of(cls, outcomes: Iterable[tuple[TrainRequest, Training | Failure]]) -> "TrainedDatasets":
        """The results of requests that `run_in_turn` ran."""
        trainings, failures = [], []
        for request, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                trainings.append((request, outcome))
        return cls(trainings=tuple(trainings), failures=tuple(failures))

    @property
    def summary(self) -> list[str]:
        """Lines for a log: runs of each dataset, and what is missing."""
        done = [
            f"{each.encoded.dataset.name} with {each.encoded.model}: {each.runs.summary}"
            for _, each in self.trainings
        ]
        return [*done, *(f"{each.pair}: {each.error}" for each in self.failures)]

    def to_arrow(self) -> pa.Table:
        """The runs of all datasets, in the columns of `Training.to_arrow`; no columns if there are none.

        Raises:
            FeatureCacheError: a file of runs is damaged.
        """
        return pa.concat_tables([each.to_arrow() for _, each in self.trainings] or [pa.table({})])

    def tables(self, shots: Sequence[int] | None = None) -> list[DatasetsTable]:
        """Datasets x methods, one table for each model that was asked for and number of shots.

        A value is the mean test accuracy over seeds; where half of the classes were trained, the harmonic
        mean of the accuracies of both halves.

        Args:
            shots: numbers of shots; the largest when None.

        Raises:
            ParameterError: no run has one of the numbers of shots.
            FeatureCacheError: a file of runs is damaged.
        """
        is_base_to_new = any(each.is_base_to_new for _, each in self.trainings)
        return datasets_tables(
            [(request.model, _own(each)) for request, each in self.trainings],
            self.failures,
            column="method",
            value="harmonic_mean" if is_base_to_new else "accuracy",
            shots=shots,
            is_budget=any(request.budget for request, _ in self.trainings),
        )


@accepts_several(TrainRequest)
def train_all(
    requests: Sequence[TrainRequest],
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> TrainedDatasets:
    """Train on every dataset with every model, one after the other, as `train` does.

    What is recorded is not trained again, so that a call that was interrupted goes on from there. A
    dataset that is missing or fails does not stop the others.

    Raises:
        ClipAdapterError: a method, dataset, model or parameter does not exist; the message says why.
    """
    done = run_in_turn(
        requests,
        lambda request: train(request, executor=executor, reporter=reporter),
        check=check_training,
        reporter=reporter,
    )
    return TrainedDatasets.of(done)


def check_training(request: TrainRequest) -> None:
    """Raise if a request names a method, setting or dataset to test on that does not exist.

    Raises:
        UnknownNameError: there is no such method, setting or dataset.
        DatasetError: the images of a dataset to test on are missing.
        NotStoredError: no features were imported under the name of one.
        SettingsError: a value is invalid, or settings are given for a method that is not trained.
    """
    requested_methods(request, reporter=SILENT)
    check_targets(request)


def _own(training: Training) -> pa.Table:
    """The runs that were tested on the dataset itself."""
    runs = training.to_arrow()
    if training.tested_on:
        runs = runs.filter(pc.equal(runs["tested_on"], runs["dataset"]))
    return runs
