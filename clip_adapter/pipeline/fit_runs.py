"""Fits the runs of a sweep and records them."""

from collections.abc import Sequence
from itertools import groupby

from clip_adapter.devices import choose_device
from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods import Method, fit_method
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import not_retried
from clip_adapter.pipeline.maintain import merge_run_files
from clip_adapter.pipeline.plan import RunSpec, SweepError
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.run_records import Sweep, completed_run, failed_run
from clip_adapter.runs import RunResult, RunStore
from clip_adapter.shots import shots_in_words


@not_retried
def train_methods(
    specs: Sequence[RunSpec],
    *,
    encoded: EncodedDataset,
    encoding: Encoding | None = None,
    device: str = "auto",
    sweep_id: str,
    study: str | None = None,
    variant: str = "",
    reporter: Reporter,
) -> list[str]:
    """Train runs and record them, method by method; many small files of runs are merged at the end.

    Args:
        specs: the runs, grouped by method.
        encoded: a dataset with all its features stored.
        encoding: the encoder, for methods that need its text tower.
        device: torch device that trains, such as "cuda:0", or "auto".
        sweep_id: identifier of the sweep in the run store.
        study: name of the study that the runs belong to.
        variant: name of the variant of that study, for the progress report.
        reporter: where to report progress and failures.

    Returns:
        Identifiers of the recorded runs.

    Raises:
        SweepError: some runs failed; they are recorded as failed, the others as completed.
    """
    features = DatasetFeatures(encoded, encoding)
    sweep = Sweep(features, choose_device(device), sweep_id, study, variant=variant)
    store = RunStore(encoded.dataset.root)
    recorded: list[str] = []
    failures: list[str] = []
    for method, group in groupby(specs, key=lambda spec: spec.method):
        results, reasons = _train(sweep, method, list(group), reporter)
        store.record(results)
        recorded += [result.run.run_id for result in results]
        failures += reasons
    merge_run_files(root=store.root, reporter=reporter)
    if failures:
        raise SweepError("; ".join(dict.fromkeys(failures)))
    return recorded


def _train(
    sweep: Sweep, method: Method, specs: list[RunSpec], reporter: Reporter
) -> tuple[list[RunResult], list[str]]:
    """Train the runs of one method; also returns why some of them failed."""
    try:
        return _fit(sweep, method, specs, reporter), []
    except ClipAdapterError as error:
        if len(specs) > 1:
            # All were trained in one call; one that fails must not fail the others.
            return _train_one_by_one(sweep, method, specs, reporter)
        (spec,) = specs
        name, shots = sweep.called(method), shots_in_words(spec.shots)
        reporter.log(f"{name} failed at {shots}, seed {spec.seed}: {error}")
        return [failed_run(sweep, spec, str(error))], [f"{name}: {error}"]


def _fit(sweep: Sweep, method: Method, specs: list[RunSpec], reporter: Reporter) -> list[RunResult]:
    # Runs that are tested on several datasets are trained once.
    trainings: dict[tuple[str, int, int | None], RunSpec] = {}
    for spec in specs:
        trainings.setdefault(_training(spec), spec)
    tasks = [
        sweep.features.task(spec.split, method, classes=spec.trained_classes)
        for spec in trainings.values()
    ]
    with reporter.progress(
        f"training {sweep.called(method)}", total=len(tasks), unit="runs"
    ) as advance:
        fitted = fit_method(
            method, tasks, device=sweep.device, progress=lambda part: advance(part * len(tasks))
        )
    for spec, one in zip(trainings.values(), fitted, strict=True):
        if one.explanation:
            where = f"{shots_in_words(spec.shots)}, seed {spec.seed}"
            reporter.log(f"{sweep.called(method)} at {where}: {one.explanation}")
    by_training = dict(zip(trainings, fitted, strict=True))
    return [completed_run(sweep, spec, by_training[_training(spec)]) for spec in specs]


def _training(spec: RunSpec) -> tuple[str, int, int | None]:
    """What tells apart the trainings of one method."""
    return spec.split_fingerprint, spec.shots, spec.seed


def _train_one_by_one(
    sweep: Sweep, method: Method, specs: list[RunSpec], reporter: Reporter
) -> tuple[list[RunResult], list[str]]:
    results: list[RunResult] = []
    failures: list[str] = []
    for spec in specs:
        trained, reasons = _train(sweep, method, [spec], reporter)
        results += trained
        failures += reasons
    return results, failures
