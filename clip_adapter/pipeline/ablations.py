"""Studies: ablations of the CLIP-Adapter paper, new classes, what selection costs, all methods; and how one is made."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from clip_adapter.datasets import IMPORTED, PROMPT_STYLES, DatasetIndex, FewShotSplit
from clip_adapter.encoders import EncoderError
from clip_adapter.errors import ParameterError
from clip_adapter.methods import METHODS, Method, create_method, setting_names
from clip_adapter.methods.extended_classifier import EXTENSIBLE
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.extract import encode_in_parts, encoding_of, index_and_encode
from clip_adapter.pipeline.open_vocabulary import base_splits, count_base_classes
from clip_adapter.pipeline.paired_evaluation import held_out_rows
from clip_adapter.pipeline.plan import (
    SelectionImages,
    SplitSpec,
    SweepError,
    log_selection,
    plan_runs,
    training_rows,
)
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.request_log import record_request
from clip_adapter.pipeline.requests import ALL_DATASETS, ReproduceRequest, StudyName, accepts
from clip_adapter.pipeline.tables import TabularResult, evaluated_runs, with_base_to_new
from clip_adapter.pipeline.train import TrainedRuns, is_usable, selection_of, train_runs
from clip_adapter.runs import BASE_TO_NEW, OPEN_VOCABULARY

METHODS_OF_PAPER = ("zero-shot", "linear-probe", "coop", "clip-adapter")
"""The methods that the CLIP-Adapter paper compares on eleven datasets (section 4.2)."""
RATIOS = tuple(tenths / 10 for tenths in range(11))
"""Residual ratios from 0, which is zero-shot, to 1, which discards the feature of CLIP."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a study.

    Attributes:
        label: name within the study; made of settings or prompts when empty.
        method: name of the method.
        settings: settings of the method that differ from its defaults.
        templates: prompts; those of the dataset when empty.
        fewest_shots: smallest number of shots at which the variant can be trained.
        images: the images that choose its settings on validation: a few beside the shots, the whole
            validation split, or those of the test, as an upper bound.
    """

    label: str = ""
    method: str = "clip-adapter"
    settings: Mapping[str, Any] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    fewest_shots: int = 1
    images: SelectionImages = "few"

    @property
    def name(self) -> str:
        """Name within the study: the label, the settings as `--set` takes them, or the style of the prompts.

        >>> Variant(settings={"reduction": 8}).name, Variant(templates=("{}",)).name
        ('reduction=8', 'prompts=class name')
        """
        if self.label:
            return self.label
        if self.settings:
            return ", ".join(f"{name}={_as_text(value)}" for name, value in self.settings.items())
        styles = {templates: style for style, templates in PROMPT_STYLES.items()}
        return f"prompts={styles.get(self.templates, 'of the dataset')}"

    @property
    def beside_method(self) -> str:
        """The name without that of the method, for messages that name the method."""
        return self.name.removeprefix(self.method).removeprefix(", ")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _over(name: str, *values: Any) -> tuple[Variant, ...]:
    return tuple(Variant(settings={name: value}) for value in values)


STUDIES: Mapping[StudyName, tuple[Variant, ...]] = MappingProxyType(
    {
        "bottleneck-width": _over("reduction", 1, 2, 4, 8, 16, 32),
        "residual-ratio": _over("residual_ratios", *([ratio] for ratio in RATIOS)),
        "branch": _over("branch", "visual", "text", "both"),
        "prompt-style": (
            Variant(),
            *(Variant(templates=templates) for templates in PROMPT_STYLES.values()),
        ),
        "views": _over("views", 0, 1, 4, 16),
        "output-activation": _over("output_activation", True, False),
        "ratio-mode": (
            Variant(settings={"residual_ratios": [0.2]}),
            Variant(settings={"selection": "validation"}),
            *_over("ratio_mode", "learned", "hypernetwork"),
            Variant(settings={"selection": "held-out-shots"}, fewest_shots=2),
        ),
        OPEN_VOCABULARY: tuple(Variant(label=name, method=name) for name in EXTENSIBLE),
        "published": (
            Variant(label="chosen on validation", settings={"selection": "validation"}),
            Variant(
                label="chosen on test (oracle)", settings={"selection": "validation"}, images="test"
            ),
        ),
        "paper": tuple(Variant(label=name, method=name) for name in METHODS_OF_PAPER),
    }
)
"""Variants by study: those of section 4.4 and tables 3 to 6 of https://arxiv.org/abs/2110.04544, the
methods whose classifiers can be given classes by name, the setting of the paper's figures, and the methods
that it compares. The studies of
all methods, "selection" and "rivals", are made by `variants_of`."""

PUBLISHED_ON: tuple[str, str] = ("eurosat", "RN50-quickgelu:openai")
"""Dataset and model of the figures of the paper, `clip_adapter.report.studies.PUBLISHED`."""


def variants_of(
    study: StudyName,
    *,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> tuple[Variant, ...]:
    """The variants of a study; "selection" and "rivals" have every method that can be loaded.

    Args:
        study: name of the study.
        reporter: where to report methods that cannot be loaded.
    """
    if study not in STUDIES_OF_METHODS:
        return STUDIES[study]
    names = [name for name in METHODS if is_usable(name, reporter, has_tower=True)]
    return tuple(chain.from_iterable(STUDIES_OF_METHODS[study](name) for name in names))


def _rival(name: str) -> tuple[Variant, ...]:
    return (Variant(label=name, method=name),)


def _selections(name: str) -> tuple[Variant, ...]:
    """A method by everything that can choose its settings; none where it has nothing to choose."""
    if "selection" not in setting_names(METHODS[name]):
        return ()
    validated: tuple[tuple[str, SelectionImages], ...] = (
        ("test (oracle)", "test"),
        ("whole validation split", "whole"),
        ("few validation images", "few"),
    )
    return (
        *(
            Variant(
                label=f"{name}, {label}",
                method=name,
                settings={"selection": "validation"},
                images=images,
            )
            for label, images in validated
        ),
        Variant(
            label=f"{name}, held-out shots",
            method=name,
            settings={"selection": "held-out-shots"},
            fewest_shots=2,
        ),
        Variant(label=f"{name}, defaults", method=name, settings={"selection": "none"}),
    )


STUDIES_OF_METHODS: Mapping[StudyName, Callable[[str], tuple[Variant, ...]]] = MappingProxyType(
    {"selection": _selections, "rivals": _rival}
)
"""The variants of one method, by study."""


@dataclass(frozen=True, kw_only=True)
class Reproduction(TabularResult):
    """The result of reproducing a study.

    Attributes:
        study: name of the study.
        encoded: the dataset with the features of the last variant.
        names: names of the variants that were trained.
        variants: counts of runs, one for each of them.
    """

    study: StudyName
    encoded: EncodedDataset
    names: tuple[str, ...]
    variants: tuple[TrainedRuns, ...]

    @property
    def n_trained(self) -> int:
        """Number of runs trained and recorded now."""
        return sum(runs.n_trained for runs in self.variants)

    @property
    def n_reused(self) -> int:
        """Number of runs that were recorded before."""
        return sum(runs.n_reused for runs in self.variants)

    @property
    def summary(self) -> list[str]:
        """Lines for a log: features and runs."""
        runs = f"{self.n_trained} runs trained, {self.n_reused} recorded already"
        return [self.encoded.summary, f"{self.study}: {runs}"]

    def to_arrow(self) -> pa.Table:
        """The runs of every variant with their results, trained now or before.

        Returns:
            One row a run, variant by variant: the name of the `variant`, and the columns of
            `Training.to_arrow`; in open-vocabulary also those of `BASE_TO_NEW`, and
            `harmonic_mean`, that of the accuracies of each half among its own classes.

        Raises:
            FeatureCacheError: a file of runs is damaged.
        """
        tables = []
        for variant, runs in zip(self.names, self.variants, strict=True):
            dataset = self.encoded.dataset
            table = evaluated_runs(dataset.root, runs.fingerprints, dataset=dataset.name)
            names = pa.array([variant] * table.num_rows, pa.string())
            tables.append(table.add_column(0, "variant", names))
        found = pa.concat_tables(tables)
        if self.study != OPEN_VOCABULARY:
            return found
        return with_base_to_new(found, root=self.encoded.dataset.root)

    def _shown(self) -> pa.Table:
        further = BASE_TO_NEW if self.study == OPEN_VOCABULARY else ("accuracy", "nll")
        return self.to_arrow().select(["variant", "shots", "seed", *further])


@accepts(ReproduceRequest)
def reproduce(
    request: ReproduceRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> Reproduction:
    """Train every variant of a study once for every shot and seed.

    An ablation varies a setting of CLIP-Adapter. In open-vocabulary a variant is a method, which learns from
    the first half of the classes; the others are added to its classifier by name before the test. In
    rivals and paper a variant is a method, in selection a method and what chooses its settings, the test images among
    it: such runs are called oracles and are no results. Published is the setting of the paper's figures.

    Returns:
        The dataset with its features, and the counts of runs of each variant.

    Raises:
        ClipAdapterError: a dataset, model or parameter cannot be used; the message says why.
        SweepError: some runs failed; they are recorded as failed, the others as completed.
        FeatureCacheError: the store cannot be read or written.
    """
    if request.dataset == ALL_DATASETS:
        raise ParameterError(
            "the dataset all stands for several datasets, and reproduce takes one: call reproduce_all"
        )
    request = _as_published(request)
    encoding = encoding_of(request, reporter=reporter)
    variants = _usable(variants_of(request.study, reporter=reporter), request, encoding, reporter)
    _check_selection(variants, request)
    methods = [_method(each, request) for each in variants]
    encoding = encoding.with_views(methods)
    choices = SplitSpec.of(request)
    encoded, splits = index_and_encode(
        request,
        encoding,
        choices=choices,
        executor=executor,
        reporter=reporter,
    )
    log_selection(methods, splits, reporter=reporter)
    runs: dict[str, TrainedRuns] = {}
    failures: list[str] = []
    dataset, n_base = encoded.dataset, None
    if request.study == OPEN_VOCABULARY:
        n_base = count_base_classes(dataset)
        splits = base_splits(splits, dataset.index.labels, n_base=n_base)
    rows = training_rows(splits)
    by_prompts: dict[tuple[str, ...], EncodedDataset] = {(): encoded}
    for variant, method in zip(variants, methods, strict=True):
        if variant.templates not in by_prompts:
            by_prompts[variant.templates] = encode_in_parts(  # prompts alone: the images are stored
                dataset.prompted(variant.templates),
                encoding,
                view_rows=rows,
                parts=request.parts,
                executor=executor,
                reporter=reporter,
            )
        encoded = by_prompts[variant.templates]
        specs = plan_runs(
            encoded,
            [method],
            _choosing_on(
                variant.images,
                [split for split in splits if split.shots >= variant.fewest_shots],
                dataset.index,
            ),
            image_choice=choices.image_choice,
            study=request.study,
            n_base_classes=n_base,
            selection_images=variant.images,
        )
        try:
            trained = train_runs(
                specs,
                encoded=encoded,
                encoding=encoding,
                study=request.study,
                variant=variant.beside_method,
                parts=request.parts,
                executor=executor,
                reporter=reporter,
            )
        except SweepError as error:  # must not fail the variants that follow
            failures.append(str(error))
            trained = error.recorded
        if trained is not None:
            runs[variant.name] = trained
    done = Reproduction(
        study=request.study, encoded=encoded, names=tuple(runs), variants=tuple(runs.values())
    )
    if failures:
        raise SweepError("; ".join(failures), recorded=done if runs else None)
    fingerprints = [each for one in runs.values() for each in one.fingerprints]
    executor.call(
        record_request, request, command="reproduce", encoded=encoded, fingerprints=fingerprints
    )
    return done


def _as_published(request: ReproduceRequest) -> ReproduceRequest:
    """The request with the model of the paper's figures, where the study is "published".

    Raises:
        ParameterError: the dataset or the model is not that of the figures.
    """
    if request.study != "published":
        return request
    dataset, model = PUBLISHED_ON
    architecture = (request.model or model).partition(":")[0]
    if request.dataset != dataset or architecture not in {"RN50", "RN50-quickgelu"}:
        raise ParameterError(
            f"the paper's figures are those of {dataset} with CLIP's RN50, found {request.dataset} with "
            f"{request.model or model}: use clip-adapter reproduce published {dataset}, with the archive "
            "that `clip-adapter datasets` names and a network for the weights, or --model RN50:FILE"
        )
    return request.model_copy(update={"model": request.model or model})


def _choosing_on(
    images: SelectionImages, splits: Sequence[FewShotSplit], index: DatasetIndex
) -> list[FewShotSplit]:
    """The splits with other images to validate on.

    This is the only place where test images choose, which `plan_runs` asks to be said.
    """
    if images == "few":
        return list(splits)
    if images == "test":
        return [replace(split, val_rows=index.rows("test")) for split in splits]
    return [
        replace(
            split,
            val_rows=held_out_rows(
                index, frozenset(index.image_sha256[row] for row in split.train_rows)
            ),
        )
        for split in splits
    ]


def _check_selection(variants: Sequence[Variant], request: ReproduceRequest) -> None:
    """Raise if the request contradicts what the variants of its study choose on.

    Raises:
        ParameterError: a variant chooses on validation images, and none are to be set aside, or all
            variants say themselves what they choose on.
    """
    said = [each.settings.get("selection") for each in variants]
    if not request.validation and "validation" in said:  # of an oracle as well
        raise ParameterError(
            f"the study {request.study} compares choices on validation images with others, and "
            "--no-validation sets no image aside: leave it out"
        )
    if request.selection and not any(
        own is None and selection_of(variant.method, request.selection)
        for own, variant in zip(said, variants, strict=True)
    ):
        raise ParameterError(
            f"--selection {request.selection} can change nothing, as every variant of the study "
            f"{request.study} says itself what it chooses on: leave it out"
        )


def _method(variant: Variant, request: ReproduceRequest) -> Method:
    has_recipe = "recipe" in setting_names(METHODS[variant.method])
    return create_method(
        variant.method,
        {
            **selection_of(variant.method, request.choosing),
            **variant.settings,
            **({"recipe": request.recipe} if has_recipe else {}),
        },
    )


def _usable(
    variants: Sequence[Variant], request: ReproduceRequest, encoding: Encoding, reporter: Reporter
) -> list[Variant]:
    """The variants without those that learn prompts, where the text tower cannot be entered."""
    learning = [each for each in variants if METHODS[each.method].needs_text_tower]
    why = _no_text_tower(request, encoding) if learning else ""
    if not why:
        return list(variants)
    names = ", ".join(variant.name for variant in learning)
    reporter.warn(f"{names} is left out: {why}; the other methods are trained")
    return [each for each in variants if each not in learning]


def _no_text_tower(request: ReproduceRequest, encoding: Encoding) -> str:
    """Why no prompts can be learned with the encoder; empty where they can."""
    if request.dataset.startswith(IMPORTED):
        return f"the features of {request.dataset} were imported, without a text tower"
    try:
        encoding.check_text_tower()
    except EncoderError as error:
        return str(error)
    return ""
