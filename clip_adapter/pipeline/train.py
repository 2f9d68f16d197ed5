"""Training: trains few-shot methods on stored features and records the runs."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any, cast

import pyarrow as pa

from clip_adapter.datasets import IMPORTED, DatasetIndex, FewShotSplit
from clip_adapter.encoders import EncoderError
from clip_adapter.methods import METHODS, Method, create_method, setting_names
from clip_adapter.methods.extended_classifier import NOT_EXTENSIBLE
from clip_adapter.methods.selection import Selection
from clip_adapter.pipeline.candidate import check_can_promote
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.extract import encoding_of, index_and_encode
from clip_adapter.pipeline.open_vocabulary import base_splits, count_base_classes
from clip_adapter.pipeline.plan import (
    RunSpec,
    SplitSpec,
    SweepError,
    classes_drawn,
    log_selection,
    plan_runs,
    with_targets,
)
from clip_adapter.pipeline.promote import Promotion, decide_promotion
from clip_adapter.pipeline.provenance import digest_settings
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.request_log import record_request
from clip_adapter.pipeline.requests import PromoteRequest, SweepRequest, TrainRequest, accepts
from clip_adapter.pipeline.tables import (
    TabularResult,
    evaluated_runs,
    with_base_to_new,
    with_tested_on,
)
from clip_adapter.pipeline.targets import check_targets, encode_targets, log_left_out
from clip_adapter.runs import BASE_TO_NEW, PromotionRecord, RunStore, RunStoreError
from clip_adapter.training import SettingsError

OnRegression = Callable[[PromotionRecord], None]
"""Function called with the decision on a candidate that is proven worse, before it is recorded."""


@dataclass(frozen=True, kw_only=True)
class TrainedRuns:
    """Counts of the runs of a sweep.

    Attributes:
        sweep_id: identifier of the sweep in the run store; empty when nothing was trained.
        n_trained: number of runs trained and recorded now.
        n_reused: number of runs that were recorded before, with an equal fingerprint.
        seconds: time spent training and evaluating.
        fingerprints: fingerprints of all runs, recorded now or before.
        run_ids: identifiers of the runs that were recorded now.
    """

    sweep_id: str
    n_trained: int
    n_reused: int
    seconds: float
    fingerprints: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a log."""
        return (
            f"{self.n_trained} runs trained in {self.seconds:.1f} s, "
            f"{self.n_reused} recorded already"
        )


@dataclass(frozen=True, kw_only=True)
class Training(TabularResult):
    """The result of a training request.

    Attributes:
        encoded: the dataset with its features.
        runs: counts of runs trained now and before.
        promotion: the decision about the champion; None if `promote` was false.
        is_base_to_new: whether half of the classes were trained, and each half was tested.
        tested_on: names in the store of the other datasets on which classifiers were tested.
    """

    encoded: EncodedDataset
    runs: TrainedRuns
    promotion: Promotion | None = None
    is_base_to_new: bool = False
    tested_on: tuple[str, ...] = ()

    @property
    def summary(self) -> list[str]:
        """Lines for a log: features, runs, and the decision if there is one."""
        decided = [self.promotion.summary] if self.promotion else []
        return [self.encoded.summary, self.runs.summary, *decided]

    @property
    def is_up_to_date(self) -> bool:
        """Whether there was nothing to encode, to train and to decide."""
        n_done = self.encoded.n_encoded + self.encoded.n_prompts_encoded + self.runs.n_trained
        return n_done == 0 and not (self.promotion and self.promotion.is_new)

    def to_arrow(self) -> pa.Table:
        """The runs with their results, trained now or before.

        Returns:
            One row a run, in the order of the request: `dataset`, `model`, `method`, `shots`,
            `seed`, `accuracy` and `nll` on the test split, `validation_accuracy`, `residual_ratio`
            (null for methods that have none), `selected_on`, `seconds_train`, `started_at`,
            `run_id` and `fingerprint`. Where half of the classes were trained, also the columns of
            `BASE_TO_NEW`, and `harmonic_mean`, that of the accuracies of each half among its own
            classes; where classifiers were tested on other datasets, also `tested_on`, the name of
            the dataset with the test images.

        Raises:
            FeatureCacheError: a file of runs is damaged.
        """
        dataset = self.encoded.dataset
        runs = evaluated_runs(dataset.root, self.runs.fingerprints, dataset=dataset.name)
        if self.is_base_to_new:
            return with_base_to_new(runs, root=dataset.root)
        return with_tested_on(runs, root=dataset.root) if self.tested_on else runs

    def _shown(self) -> pa.Table:
        columns = ["method", "shots", "seed", "accuracy", "nll", "residual_ratio", "seconds_train"]
        if self.is_base_to_new:
            columns = ["method", "shots", "seed", *BASE_TO_NEW, "harmonic_mean"]
        return self.to_arrow().select([*columns, *(["tested_on"] if self.tested_on else [])])


@accepts(TrainRequest)
def train(
    request: TrainRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
    on_regression: OnRegression | None = None,
) -> Training:
    """Train every method at every shot and seed; a run that is recorded is not trained again.

    Returns:
        The dataset with its features, the counts of runs, and the decision about the champion.

    Under the protocol base-to-new the methods learn from the first half of the classes, and are tested on
    both; with other datasets to test on, each classifier is tested on these as well, as a run of its own.
    Neither is on the leaderboard, nor a candidate for promotion.

    Raises:
        ClipAdapterError: a dataset, model or parameter cannot be used; the message says why.
        SweepError: some runs failed; they are recorded as failed, the others as completed.
        FeatureCacheError: the store cannot be read or written.
    """
    methods = requested_methods(request, reporter=reporter)
    if request.promote:
        check_can_promote(methods)
    check_targets(request)
    encoding = encoding_of(request, reporter=reporter)
    methods = _with_text_tower(methods, request, encoding, reporter)
    encoding = encoding.with_views(methods)
    choices = SplitSpec.of(request)
    encoded, splits = index_and_encode(
        request,
        encoding,
        choices=choices,
        templates=request.templates,
        executor=executor,
        reporter=reporter,
    )
    index, n_base = encoded.dataset.index, None
    if request.protocol == "base-to-new":
        n_base = count_base_classes(encoded.dataset)
        splits = base_splits(splits, index.labels, n_base=n_base)
    elif request.budget is not None:
        methods = methods_of_budget(methods, splits, request, index, reporter)
    log_selection(methods, splits, reporter=reporter)
    planned = plan_runs(
        encoded,
        methods,
        splits,
        image_choice=choices.image_choice,
        study=request.study,
        n_base_classes=n_base,
    )
    targets = encode_targets(request, encoding, encoded, executor=executor, reporter=reporter)
    log_left_out(methods, targets, reporter=reporter)
    for target in targets:
        learned = [spec.split for spec in planned if spec.method.learns]
        if leaked := max((target.n_leaked(split, index) for split in learned), default=0):
            reporter.log(
                f"leak: {leaked} test images of {target.encoded.dataset.name} are among the images that "
                "train or choose hyper-parameters"
            )
    specs = with_targets(planned, targets)
    # Recorded before training, so that the runs of a process that is killed belong to this request.
    fingerprints = [spec.fingerprint for spec in specs]
    record: dict[str, Any] = {"command": "train", "encoded": encoded, "fingerprints": fingerprints}
    executor.call(record_request, request, **record)
    training = Training(
        encoded=encoded,
        runs=TrainedRuns(sweep_id="", n_trained=0, n_reused=0, seconds=0.0),
        is_base_to_new=n_base is not None,
        tested_on=tuple(target.encoded.dataset.name for target in targets),
    )
    try:
        runs = train_runs(
            specs,
            encoded=encoded,
            encoding=encoding,
            study=request.study,
            retrain=request.retrain,
            parts=request.parts,
            executor=executor,
            reporter=reporter,
        )
    except SweepError as error:
        some = error.recorded and replace(training, runs=error.recorded)
        raise SweepError(str(error), recorded=some) from error
    if request.retrain:
        # Named, so that they count in place of the earlier runs with the same fingerprints.
        executor.call(record_request, request, **record, run_ids=runs.run_ids)
    promotion = None
    if request.promote:
        promotion = executor.call(
            decide_promotion,
            planned,
            encoded=encoded,
            encoding=encoding,
            max_relabelled_fraction=request.max_relabelled_fraction,
            on_regression=on_regression,
            reporter=reporter,
        )
    return replace(training, runs=runs, promotion=promotion)


@accepts(PromoteRequest)
def promote(
    request: PromoteRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
    on_regression: OnRegression | None = None,
) -> Promotion:
    """Train the missing runs of a sweep, and promote the best method if it is proven better.

    Returns:
        The decision with its numbers, made now or recorded before.

    Raises:
        ClipAdapterError: a dataset, model or parameter cannot be used; the message says why.
        SweepError: some runs failed; they are recorded as failed, the others as completed.
        RunStoreError: no run can be promoted, or the images that the champion was trained on are
            not recorded.
        FeatureCacheError: the store cannot be read or written.
    """
    to_train = TrainRequest.of(**request.model_dump(), promote=True)
    training = train(to_train, executor=executor, reporter=reporter, on_regression=on_regression)
    return cast("Promotion", training.promotion)  # as the request promotes


def requested_methods(
    request: SweepRequest,
    *,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> list[Method]:
    """The methods of a request with their settings, each once.

    Args:
        request: names the methods; "all" is every method that can be loaded and used.
        reporter: where to report methods that cannot be loaded.

    Raises:
        UnknownNameError: there is no such method or setting.
        SettingsError: a value is invalid, or settings are given for a method that is not trained.
    """
    settings = request.settings or {}
    names = list(dict.fromkeys(request.methods))
    if names == ["all"]:
        has_tower = not request.dataset.startswith(IMPORTED)
        names = [name for name in METHODS if is_usable(name, reporter, has_tower=has_tower)]
    methods = [
        create_method(name, {**selection_of(name, request.choosing), **settings.get(name, {})})
        for name in names
    ]
    if request.selection and not any(selection_of(name, request.selection) for name in names):
        raise SettingsError(
            f"--selection {request.selection} can change nothing: none of {', '.join(names)} has settings "
            "to choose; leave it out, or add a method"
        )
    for name in settings.keys() - set(names):
        create_method(name, settings[name])
    if unused := sorted(settings.keys() - set(names)):
        raise SettingsError(
            f"settings were given for {', '.join(unused)}, which is not trained: "
            f"expected settings for {', '.join(names)}; add it to --methods"
        )
    for method in methods:
        digest_settings(method)  # refuses a setting by which runs cannot be told apart
    if request.protocol == "base-to-new":
        methods = _without_learned_prompts(methods, reporter=reporter)
        return with_prototypes(
            methods, why="the new classes have none to train on", reporter=reporter
        )
    return methods


def _without_learned_prompts(methods: Sequence[Method], *, reporter: Reporter) -> list[Method]:
    """The methods without those whose learned prompts would be lost on new classes.

    Raises:
        SettingsError: there is no other method.
    """
    names = ", ".join(method.name for method in methods if method.needs_text_tower)
    others = [method for method in methods if not method.needs_text_tower]
    why = (
        f"{names}: what it learns around the names of the base classes is not kept for new names, so that "
        "its accuracy on new classes would be that of zero-shot and not the published one"
    )
    if not others:
        raise SettingsError(f"nothing is left to train without {why}; name another method")
    if names:
        reporter.warn(f"left out is {why}")
    return others


def with_prototypes(methods: Sequence[Method], *, why: str, reporter: Reporter) -> list[Method]:
    """The methods whose classifiers know a class without an image by its name.

    Args:
        methods: methods of a request.
        why: which classes have no image, for the message.
        reporter: where to report the methods that are left out.

    Raises:
        SettingsError: there is no such method.
    """
    names = [method.name for method in methods if method.name in NOT_EXTENSIBLE]
    able = [method for method in methods if method.name not in NOT_EXTENSIBLE]
    is_one = len(names) == 1
    knows = (
        f"{', '.join(names)}: {'it knows' if is_one else 'they know'} a class by its images alone"
    )
    if not able:
        raise SettingsError(
            f"nothing is left to train without {knows}, and {why}; name a method with class prototypes, "
            "as zero-shot, clip-adapter or tip-adapter"
        )
    if names:
        reporter.warn(f"left out {'is' if is_one else 'are'} {knows}, and {why}")
    return able


def selection_of(name: str, selection: Selection | None) -> dict[str, Any]:
    """The setting `selection` of a method, if one is asked for and the method has it."""
    has_it = name in METHODS and "selection" in setting_names(METHODS[name])
    return {"selection": selection} if selection and has_it else {}


def is_usable(name: str, reporter: Reporter, *, has_tower: bool) -> bool:
    """Whether a method can be loaded, and an encoder without a text tower is enough for it.

    Args:
        name: name of the method.
        reporter: where to report a method that cannot be loaded.
        has_tower: whether the encoder has a text tower.
    """
    try:
        needs_tower = METHODS[name].needs_text_tower
    except SettingsError as error:
        reporter.warn(f"{error}; the other methods are trained")
        return False
    return has_tower or not needs_tower


def methods_of_budget(
    methods: list[Method],
    splits: Sequence[FewShotSplit],
    request: TrainRequest,
    index: DatasetIndex,
    reporter: Reporter,
) -> list[Method]:
    """The methods that can do with the classes of which a budget has images.

    Args:
        methods: methods of the request.
        splits: the draws, one for each seed.
        request: names the budget, and whether a champion is to be promoted.
        index: index of the dataset.
        reporter: where to report the methods that are left out.

    Raises:
        SettingsError: every method needs an image of each class.
        RunStoreError: such a classifier is to be promoted, and it cannot be saved.
    """
    lacking = [split for split in splits if classes_drawn(split, index) is not None]
    if not lacking:
        return methods
    seeds = ", ".join(str(split.seed) for split in lacking)
    if request.promote:
        raise RunStoreError(
            f"the {request.budget} images of seed {seeds} have none of some class, and a classifier that "
            "knows classes by name alone cannot be saved as a champion: ask for a larger --budget, or do "
            "not promote"
        )
    why = f"the {request.budget} images of seed {seeds} have none of some class"
    return with_prototypes(methods, why=why, reporter=reporter)


def _with_text_tower(
    methods: list[Method], request: SweepRequest, encoding: Encoding, reporter: Reporter
) -> list[Method]:
    """The methods that can be trained with the encoder's text tower; of "all", the others are left out.

    Raises:
        EncoderError: a named method learns prompts, and the text tower cannot be entered.
    """
    learning = [method.name for method in methods if method.needs_text_tower]
    if not learning or request.dataset.startswith(IMPORTED):  # whose tasks have no tower at all
        return methods
    try:
        encoding.check_text_tower()
    except EncoderError as error:
        if request.methods != ["all"]:
            raise
        reporter.warn(f"{', '.join(learning)} is left out: {error}; the other methods are trained")
        return [method for method in methods if not method.needs_text_tower]
    return methods


def train_runs(
    specs: Sequence[RunSpec],
    *,
    encoded: EncodedDataset,
    encoding: Encoding | None,
    study: str | None = None,
    variant: str = "",
    retrain: bool = False,
    parts: int | None = None,
    device: str = "auto",
    executor: Executor,
    reporter: Reporter,
) -> TrainedRuns:
    """Train the runs that are not recorded yet, split by methods and seeds.

    Args:
        specs: the runs, grouped by method.
        encoded: a dataset with all its features stored.
        encoding: the encoder; its device trains, and its text tower is for methods that need it.
        study: name of the study that the runs belong to.
        variant: name of the variant of that study, for the progress report.
        retrain: train recorded runs again.
        parts: approximate number of steps to split the runs into; chosen by the executor when None.
        device: where to train when `encoding` is None.
        executor: runs the steps.
        reporter: where to report progress.

    Raises:
        SweepError: some runs failed, raised when all steps have ended; they are recorded as failed,
            the others as completed, and `recorded` counts those.
    """
    store = RunStore(encoded.dataset.root)
    fingerprints = [spec.fingerprint for spec in specs]
    dataset = encoded.dataset.name
    known = set() if retrain else store.completed(fingerprints, dataset=dataset)
    todo = [spec for spec in specs if spec.fingerprint not in known]
    nothing = TrainedRuns(
        sweep_id="",
        n_trained=0,
        n_reused=len(specs),
        seconds=0.0,
        fingerprints=tuple(fingerprints),
    )
    if not todo:
        return nothing
    from clip_adapter.pipeline.fit_runs import train_methods  # noqa: PLC0415  # imports what computes

    sweep_id = uuid.uuid4().hex
    start = time.perf_counter()
    outcomes = executor.map(
        train_methods,
        _groups(todo, parts=executor.parts(parts, most=len(todo))),
        encoded=encoded,
        encoding=encoding,
        device=encoding.device if encoding else device,
        sweep_id=sweep_id,
        study=study,
        variant=variant,
        reporter=reporter,
    )
    recorded = [each for each in outcomes if not isinstance(each, Exception)]
    done = replace(
        nothing,
        sweep_id=sweep_id,
        n_trained=len(todo),
        n_reused=len(specs) - len(todo),
        seconds=time.perf_counter() - start,
        run_ids=tuple(chain.from_iterable(recorded)),
    )
    failures = [each for each in outcomes if isinstance(each, Exception)]
    if failures:
        n_done = len(store.completed([spec.fingerprint for spec in todo], dataset=dataset))
        has_some = n_done or done.n_reused
        _raise_failures(failures, recorded=replace(done, n_trained=n_done) if has_some else None)
    return done


def _groups(specs: Sequence[RunSpec], *, parts: int) -> Iterator[list[RunSpec]]:
    """All runs as one group, or about so many groups, each of one method and some of its seeds."""
    if parts == 1:
        if specs:
            yield list(specs)
        return
    by_method = [list(group) for _, group in groupby(specs, key=lambda spec: spec.method)]
    for group in by_method:
        seeds = list(dict.fromkeys(spec.seed for spec in group))
        n_batches = min(len(seeds), max(1, -(-parts // len(by_method))))
        for number in range(n_batches):
            chosen = set(seeds[number::n_batches])
            yield [spec for spec in group if spec.seed in chosen]


def _raise_failures(failures: Sequence[Exception], *, recorded: TrainedRuns | None) -> None:
    """Raise the first other error, else one error with the reasons of all runs that failed."""
    for failure in failures:
        if not isinstance(failure, SweepError):
            raise failure
    raise SweepError("; ".join(dict.fromkeys(map(str, failures))), recorded=recorded)
