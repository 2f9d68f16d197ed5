"""A study on every known dataset whose images are present, and its results side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from clip_adapter.datasets import GENERATED, DatasetError, describe, known_names
from clip_adapter.pipeline.ablations import Reproduction, reproduce
from clip_adapter.pipeline.datasets import known_datasets
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.in_turn import DatasetsTable, Failure, datasets_tables, run_in_turn
from clip_adapter.pipeline.plan import SweepError
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import ReproduceRequest, StudyName, accepts
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.runs import OPEN_VOCABULARY


@dataclass(frozen=True, kw_only=True)
class ReproducedDatasets(TabularResult):
    """The results of a study on several datasets.

    Attributes:
        study: name of the study.
        reproductions: the result on each dataset that has one, without runs that failed.
        failures: datasets on which the study failed, or some of its runs did.
        missing: datasets whose images are not present, with what to do.
    """

    study: StudyName
    reproductions: tuple[Reproduction, ...]
    failures: tuple[Failure, ...]
    missing: tuple[Failure, ...]

    @property
    def n_trained(self) -> int:
        """Number of runs trained and recorded now."""
        return sum(each.n_trained for each in self.reproductions)

    @property
    def n_reused(self) -> int:
        """Number of runs that were recorded before."""
        return sum(each.n_reused for each in self.reproductions)

    @property
    def summary(self) -> list[str]:
        """Lines for a log: runs of each dataset, and what failed or is missing."""
        done = [f"{each.encoded.dataset.name}: {each.summary[-1]}" for each in self.reproductions]
        return [*done, *(f"{each.pair}: {each.error}" for each in (*self.failures, *self.missing))]

    def to_arrow(self) -> pa.Table:
        """The runs of all datasets, in the columns of `Reproduction.to_arrow`; no columns without one.

        Raises:
            FeatureCacheError: a file of runs is damaged.
        """
        return pa.concat_tables([each.to_arrow() for each in self.reproductions] or [pa.table({})])

    def tables(self, shots: Sequence[int] | None = None) -> list[DatasetsTable]:
        """Datasets x variants, one table for each number of shots.

        A value is the mean test accuracy over seeds; in open-vocabulary, the harmonic mean of the
        accuracies on base and new classes when all compete.

        Args:
            shots: numbers of shots; the largest when None.

        Raises:
            ParameterError: no run has one of the numbers of shots.
            FeatureCacheError: a file of runs is damaged.
        """
        # One model was asked for, or the default of each dataset: so the tables are not divided by it.
        failures = [replace(each, model=None) for each in (*self.failures, *self.missing)]
        return datasets_tables(
            [(None, each.to_arrow()) for each in self.reproductions],
            failures,
            column="variant",
            value="harmonic_mean_among_all" if self.study == OPEN_VOCABULARY else "accuracy",
            shots=shots,
        )

    def check(self) -> None:
        """Raise `SweepError` if the study failed on some dataset; a missing dataset is no failure."""
        if self.failures:
            raise SweepError("; ".join(f"{each.pair}: {each.error}" for each in self.failures))


@accepts(ReproduceRequest)
def reproduce_all(
    request: ReproduceRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> ReproducedDatasets:
    """Reproduce a study on every known dataset whose images are present, one after the other.

    The dataset of the request is ignored. Datasets that are generated, as digits, or have
    test images alone, as imagenet-v2, are left out. A dataset on which the study fails does not stop the
    others, and runs that are recorded are not trained again.

    Returns:
        The result on each dataset, and what failed or is missing.

    Raises:
        DatasetError: no dataset is present.
        ClipAdapterError: a model or parameter cannot be used; the message says why.
    """
    known = [
        each
        for each in known_datasets(request.places.data_folder)
        if each.is_present is not None and _is_benchmark(each.name)
    ]
    missing = tuple(
        Failure(dataset=each.name, model=None, error=each.next_step)
        for each in known
        if not each.is_present
    )
    present = [each.name for each in known if each.is_present]
    if not present:
        steps = "; ".join(f"{each.dataset}: {each.error}" for each in missing)
        raise DatasetError(f"no images of a known dataset are present: {steps}")
    requests = [request.model_copy(update={"dataset": name}) for name in present]
    outcomes = list(
        run_in_turn(
            requests,
            lambda each: reproduce(each, executor=executor, reporter=reporter),
            reporter=reporter,
        )
    )
    return ReproducedDatasets(
        study=request.study,
        reproductions=tuple(each for _, each in outcomes if not isinstance(each, Failure)),
        failures=tuple(each for _, each in outcomes if isinstance(each, Failure)),
        missing=missing,
    )


def _is_benchmark(name: str) -> bool:
    """Whether a known dataset has published images to train on."""
    if name in GENERATED:
        return False
    return name not in known_names() or not describe(name).test_only
