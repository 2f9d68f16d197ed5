"""The ablation studies of the CLIP-Adapter paper: their variants, and how one is reproduced."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from clip_adapter.datasets import PROMPT_STYLES
from clip_adapter.methods import create_method
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.extract import encode_in_parts, encoding_of, index_and_encode
from clip_adapter.pipeline.plan import SplitSpec, plan_runs, training_rows
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.request_log import record_request
from clip_adapter.pipeline.requests import ReproduceRequest, StudyName, accepts
from clip_adapter.pipeline.tables import TabularResult, evaluated_runs
from clip_adapter.pipeline.train import TrainedRuns, train_runs
from clip_adapter.settings import Settings

RATIOS = tuple(tenths / 10 for tenths in range(11))
"""Residual ratios from 0, which is zero-shot, to 1, which discards the feature of CLIP."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a study.

    Attributes:
        settings: settings of clip-adapter that differ from its defaults.
        templates: prompts; those of the dataset when empty.
        fewest_shots: smallest number of shots at which the variant can be trained.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    fewest_shots: int = 1

    @property
    def name(self) -> str:
        """Name within the study: the settings as `--set` takes them, or the style of the prompts.

        >>> Variant(settings={"reduction": 8}).name, Variant(templates=("{}",)).name
        ('reduction=8', 'prompts=class name')
        """
        if self.settings:
            return ", ".join(f"{name}={_as_text(value)}" for name, value in self.settings.items())
        styles = {templates: style for style, templates in PROMPT_STYLES.items()}
        return f"prompts={styles.get(self.templates, 'of the dataset')}"


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
            *_over("ratio_mode", "validation", "learned", "hypernetwork"),
            Variant(settings={"ratio_mode": "held-out-shots"}, fewest_shots=2),
        ),
    }
)
"""Variants by study; section 4.4 and tables 3 to 6 of https://arxiv.org/abs/2110.04544."""


@dataclass(frozen=True, kw_only=True)
class Reproduction(TabularResult):
    """The result of reproducing an ablation.

    Attributes:
        study: name of the study.
        encoded: the dataset with the features of the last variant.
        variants: counts of runs, one for each variant.
    """

    study: StudyName
    encoded: EncodedDataset
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
            `Training.to_arrow`.

        Raises:
            FeatureCacheError: a file of runs is damaged.
        """
        tables = []
        for variant, runs in zip(STUDIES[self.study], self.variants, strict=True):
            dataset = self.encoded.dataset
            table = evaluated_runs(dataset.root, runs.fingerprints, dataset=dataset.name)
            names = pa.array([variant.name] * table.num_rows, pa.string())
            tables.append(table.add_column(0, "variant", names))
        return pa.concat_tables(tables)

    def _shown(self) -> pa.Table:
        return self.to_arrow().select(["variant", "shots", "seed", "accuracy", "nll"])


@accepts(ReproduceRequest)
def reproduce(
    request: ReproduceRequest,
    *,
    executor: Executor = Executor(),  # noqa: B008  # has no state
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> Reproduction:
    """Train CLIP-Adapter once for every variant of a study, shot and seed.

    Returns:
        The dataset with its features, and the counts of runs of each variant.

    Raises:
        ClipAdapterError: a dataset, model or parameter cannot be used; the message says why.
        SweepError: some runs failed; they are recorded as failed, the others as completed.
        FeatureCacheError: the store cannot be read or written.
    """
    variants = STUDIES[request.study]
    methods = [
        create_method("clip-adapter", {**each.settings, "recipe": request.recipe})
        for each in variants
    ]
    encoding = encoding_of(request, reporter=reporter).with_views(methods)
    choices = SplitSpec(
        shots=request.shots,
        seeds=request.seeds,
        indices=Settings.folder(request.few_shot_indices),
        short_classes=request.short_classes,
    )
    encoded, splits = index_and_encode(
        request,
        encoding,
        choices=choices,
        executor=executor,
        reporter=reporter,
    )
    dataset, rows, runs = encoded.dataset, training_rows(splits), []
    for variant, method in zip(variants, methods, strict=True):
        encoded = encode_in_parts(  # the prompts alone: the images are stored
            dataset.prompted(variant.templates),
            encoding,
            view_rows=rows,
            parts=request.parts,
            executor=executor,
            reporter=reporter,
        )
        specs = plan_runs(
            encoded,
            [method],
            [split for split in splits if split.shots >= variant.fewest_shots],
            image_choice=choices.image_choice,
            study=request.study,
        )
        runs.append(
            train_runs(
                specs,
                encoded=encoded,
                encoding=encoding,
                study=request.study,
                variant=variant.name,
                parts=request.parts,
                executor=executor,
                reporter=reporter,
            )
        )
    fingerprints = [each for one in runs for each in one.fingerprints]
    executor.call(
        record_request, request, command="reproduce", encoded=encoded, fingerprints=fingerprints
    )
    return Reproduction(study=request.study, encoded=encoded, variants=tuple(runs))
