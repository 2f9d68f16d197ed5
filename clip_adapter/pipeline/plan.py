"""Plans the runs of a sweep, each with a fingerprint of everything that decides its result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    FewShotSampler,
    FewShotSplit,
    published_digest,
    read_few_shot_indices,
)
from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods import Method
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import n_views
from clip_adapter.pipeline.provenance import (
    ADDS_CLASSES,
    TESTS_ELSEWHERE,
    digest_code,
    digest_modules,
    digest_settings,
    digest_values,
)
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import ReproduceRequest, SweepRequest
from clip_adapter.pipeline.transfer import Target
from clip_adapter.runs import Protocol
from clip_adapter.settings import Settings
from clip_adapter.shots import ALL_SHOTS

SelectionImages = Literal["few", "whole", "test"]
BUDGET = "budget:"
"""Beginning of the image choice of a number of labelled images in all."""
PUBLISHED = "published:"
"""Beginning of the image choice of images that others chose."""
_NO_ROWS = np.zeros(0, dtype=np.int64)


class SweepError(ClipAdapterError, RuntimeError):
    """Some methods of a sweep could not be trained; the others are recorded.

    Attributes:
        recorded: result of the call without the runs that failed; None where there is none.
    """

    def __init__(self, message: str, *, recorded: Any = None) -> None:
        super().__init__(message)
        self.recorded = recorded


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Specification of one run.

    Attributes:
        method: the method with its settings.
        split: the images to learn from; any split for a method that does not learn.
        split_fingerprint: fingerprint of the split; empty for a method that does not learn.
        settings_fingerprint: fingerprint of the settings and the prompts.
        fingerprint: fingerprint of everything that decides the result.
        image_choice: who chose the images of its split.
        n_base_classes: number of classes that are trained, the first ones of the dataset; the others are
            added by name. None where all are trained.
        drawn_classes: numbers of the classes with a training image, ascending, where a budget has none of
            some; the others are added by name. None where each has one.
        target: dataset on whose test split the classifier is tested; None for its own.
        selection_images: the images that validate: a "few" as in every sweep, in the study "selection"
            also the "whole" validation split, or those of the "test" split (an oracle).
    """

    method: Method
    split: FewShotSplit
    split_fingerprint: str
    settings_fingerprint: str
    fingerprint: str
    image_choice: str = "own"
    n_base_classes: int | None = None
    drawn_classes: tuple[int, ...] | None = None
    target: Target | None = None
    selection_images: SelectionImages = "few"

    @property
    def trained_classes(self) -> Sequence[int] | None:
        """Numbers of the classes that are trained, ascending; None where all are."""
        return self.drawn_classes if self.n_base_classes is None else range(self.n_base_classes)

    @property
    def protocol(self) -> Protocol:
        """Which classes are trained and which are tested."""
        if self.target is not None:
            return self.target.protocol
        return "all-classes" if self.n_base_classes is None else "base-to-new"

    @property
    def is_oracle(self) -> bool:
        """Whether the images of the test split validate, so that the run is no result."""
        return self.selection_images == "test"

    @property
    def shots(self) -> int:
        """Labelled images a class; 0 for a method that does not learn."""
        return self.split.shots if self.method.learns else 0

    @property
    def seed(self) -> int | None:
        """Seed of the split; None for a method that does not learn."""
        return self.split.seed if self.method.learns else None


@dataclass(frozen=True, kw_only=True)
class SplitSpec:
    """The few-shot splits that a sweep consists of.

    Attributes:
        shots: numbers of labelled images a class.
        seeds: seeds with which images are sampled, or the numbers of published choices.
        indices: folder of published choices, `shot_{K}-seed_{S}.json`; sampled when None.
        short_classes: whether a class of too few images is an error, left out of the index before, or
            gives what it has.
        validation: whether images are set aside to validate. Without, none of the splits has any, and
            of published choices those that train are taken.
        budget: number of labelled images in all, drawn whatever their class, in place of `shots`; none
            is set aside to validate.

    Raises:
        DatasetError: a way with short classes is given together with published choices.
    """

    shots: Sequence[int]
    seeds: Sequence[int]
    indices: Path | None = None
    short_classes: Literal["error", "skip", "take-all"] = "error"
    validation: bool = True
    budget: int | None = None

    @classmethod
    def of(cls, request: SweepRequest | ReproduceRequest) -> "SplitSpec":
        """The few-shot splits that a request asks for.

        Raises:
            DatasetError: a way with short classes is given together with published choices.
        """
        return cls(
            shots=request.shots,
            seeds=request.seeds,
            indices=Settings.folder(request.few_shot_indices),
            short_classes=request.short_classes,
            validation=request.validation,
            budget=request.budget if isinstance(request, SweepRequest) else None,
        )

    def __post_init__(self) -> None:
        if self.indices is not None and self.short_classes != "error":
            raise DatasetError(
                f"published few-shot choices name the images of every class, so that --short-classes "
                f"{self.short_classes} can change nothing: leave it out, or let images be sampled"
            )

    @property
    def skip_short(self) -> Sequence[int]:
        """Numbers of shots that a class must have images for, or it is left out of the index."""
        return self.shots if self.short_classes == "skip" else ()

    @property
    def image_choice(self) -> str:
        """What chose the images: "own", "published:" and a digest of the publication, or "budget:" and a number.

        Raises:
            DatasetError: the folder holds no published choice.
        """
        if self.budget is not None:
            return f"{BUDGET}{self.budget}"
        if self.indices is None:
            return "own"
        return f"{PUBLISHED}{published_digest(self.indices)}"

    def splits(self, index: DatasetIndex) -> list[FewShotSplit]:
        """All few-shot splits, ordered by shots, then seeds.

        Raises:
            DatasetError: a class has fewer images than shots, and short classes are an error.
            DatasetError: a published choice is missing or belongs to another dataset.
            DatasetError: a class has no test image, or published choices are given with all shots.
            DatasetError: a budget is larger than the train split, or has images of one class alone.
        """
        sampler = FewShotSampler(
            index, take_all=self.short_classes == "take-all", validation=self.validation
        )
        seeds = sorted(set(self.seeds))
        if self.budget is not None:
            found = [sampler.draw(budget=self.budget, seed=seed) for seed in seeds]
        else:
            found = [
                self._split(sampler, shots=shots, seed=seed)
                for shots in sorted(set(self.shots))
                for seed in seeds
            ]
        _check_every_class_is_tested(index)
        return found

    def _split(self, sampler: FewShotSampler, *, shots: int, seed: int) -> FewShotSplit:
        if self.indices is None:
            return sampler.sample(shots=shots, seed=seed)
        if shots == ALL_SHOTS:
            raise DatasetError(
                "published few-shot choices are of a number of shots: leave them out to train on "
                "all images, or ask for a number"
            )
        published = read_few_shot_indices(self.indices, sampler.index, shots=shots, seed=seed)
        return published if self.validation else replace(published, val_rows=_NO_ROWS)


def training_rows(splits: Sequence[FewShotSplit]) -> list[int]:
    """The rows of all images that some split trains on, in ascending order."""
    return sorted({int(row) for split in splits for row in split.train_rows})


def log_short_classes(
    splits: Sequence[FewShotSplit], index: DatasetIndex, *, reporter: Reporter
) -> None:
    """Report which classes train on fewer images than asked for, a line for each number of shots."""
    names = index.source.class_names
    # How many images a class has does not depend on the seed.
    for split in {each.shots: each for each in splits if each.shots != ALL_SHOTS}.values():
        counts = np.bincount(index.labels[split.train_rows], minlength=len(names))
        short = np.flatnonzero(counts < split.shots).tolist()
        if short:
            listed = ", ".join(
                f"class {names[label]!r} trains on {counts[label]} of {split.shots} images"
                for label in short[:5]
            )
            more = f", and {len(short) - 5} more classes on fewer" if len(short) > 5 else ""
            reporter.log(f"{listed}{more}")


def any_split(index: DatasetIndex) -> FewShotSplit:
    """One image a class, which a method that does not learn ignores."""
    _, rows = np.unique(index.labels, return_index=True)
    return FewShotSplit(1, 0, rows.astype(np.int64), _NO_ROWS)


def classes_drawn(split: FewShotSplit, index: DatasetIndex) -> tuple[int, ...] | None:
    """Numbers of the classes with a training image, ascending; None where every class has one."""
    found = np.unique(index.labels[split.train_rows])
    return None if len(found) == len(index.source.class_names) else tuple(found.tolist())


def log_draws(splits: Sequence[FewShotSplit], index: DatasetIndex, *, reporter: Reporter) -> None:
    """Report which classes a budget has no image of, a line for each seed."""
    names = index.source.class_names
    for split in splits:
        drawn = classes_drawn(split, index)
        if drawn is not None:
            absent = [repr(name) for label, name in enumerate(names) if label not in drawn]
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            reporter.log(
                f"the {len(split.train_rows)} images of seed {split.seed} have none of {len(absent)} of "
                f"{len(names)} classes: {', '.join(absent[:5])}{more}; these are known by name alone"
            )


def log_selection(
    methods: Sequence[Method], splits: Sequence[FewShotSplit], *, reporter: Reporter
) -> None:
    """Report that methods which choose on validation images choose on held-out shots, if there are none."""
    choosing = [each for each in methods if getattr(each, "selection", None) == "validation"]
    if choosing and any(not len(split.val_rows) for split in splits):
        reporter.log(
            "no image is set aside to validate: settings are chosen on training images that are left out in "
            "turn, and are the stated defaults where too few classes have two"
        )


def plan_runs(
    encoded: EncodedDataset,
    methods: Iterable[Method],
    splits: Sequence[FewShotSplit],
    *,
    image_choice: str = "own",
    study: str | None = None,
    n_base_classes: int | None = None,
    selection_images: SelectionImages = "few",
) -> list[RunSpec]:
    """Plan one run for each method, shot and seed; a single one for a method that does not learn.

    Args:
        encoded: the dataset with its features.
        methods: methods with their settings.
        splits: few-shot splits, ordered by shots, then seeds.
        image_choice: who chose the images of the splits, as `SplitSpec.image_choice`.
        study: name of the study that the runs belong to.
        n_base_classes: number of classes that are trained, to which the images of the splits belong;
            all when None.
        selection_images: the images that the splits have for validation, see `RunSpec`.

    Raises:
        SweepError: a split validates on test images, and `selection_images` is not "test".
    """
    options: dict[str, Any] = {
        "image_choice": image_choice,
        "study": study,
        "n_base_classes": n_base_classes,
        "selection_images": selection_images,
    }
    return [
        _plan(encoded, method, split, **options)
        for method in methods
        for split in (splits if method.learns else splits[:1])
    ]


def _check_every_class_is_tested(index: DatasetIndex) -> None:
    names = index.source.class_names
    tested = set(index.labels[index.rows("test")].tolist())
    untested = [repr(name) for label, name in enumerate(names) if label not in tested]
    if untested:
        raise DatasetError(
            f"{len(untested)} of {len(names)} classes of dataset {index.source.name!r} have no test "
            f"image ({', '.join(untested[:5])}), so that an accuracy would leave them out: add images, "
            "sort them into train and test folders yourself, or train without these classes "
            "(--short-classes skip)"
        )


def _plan(
    encoded: EncodedDataset,
    method: Method,
    split: FewShotSplit,
    *,
    study: str | None,
    image_choice: str,
    n_base_classes: int | None,
    selection_images: SelectionImages,
) -> RunSpec:
    dataset = encoded.dataset
    splits = {dataset.index.splits[row] for row in split.val_rows}
    if selection_images != "test" and "test" in splits:
        raise SweepError(
            "a split validates on test images: expected images of the train or val split, as only an "
            "oracle of the study selection chooses on test"
        )
    split_fingerprint = split.fingerprint(dataset.index.image_sha256) if method.learns else ""
    drawn = None
    if image_choice.startswith(BUDGET) and n_base_classes is None:
        if method.learns:
            drawn = classes_drawn(split, dataset.index)
        else:  # which ignores its images, but a task has one of each class
            split = any_split(dataset.index)
    settings_fingerprint = digest_settings(
        method,
        class_names=dataset.class_names,
        templates=dataset.templates,
        # Datasets without prompts of single classes keep the fingerprints of their runs.
        **({"class_prompts": dataset.class_prompts} if dataset.class_prompts else {}),
        **(digested_choice(image_choice) if method.learns else digested_choice("own")),
        # Nor runs without validation images with those that have some, which keep their fingerprints.
        **({"validation": False} if method.learns and not len(split.val_rows) else {}),
        **({} if selection_images == "few" else {"selection_images": selection_images}),
    )
    is_published = image_choice.startswith(PUBLISHED)
    # Runs of all classes keep their fingerprints.
    base: dict[str, Any] = {}
    if n_base_classes is not None:
        base = {"n_base_classes": n_base_classes, "extension": digest_modules(*ADDS_CLASSES)}
    elif drawn is not None:
        base = {"drawn_classes": drawn, "extension": digest_modules(*ADDS_CLASSES)}
    return RunSpec(
        method=method,
        split=split,
        split_fingerprint=split_fingerprint,
        settings_fingerprint=settings_fingerprint,
        fingerprint=digest_values(
            index=dataset.index_fingerprint,
            encoder=encoded.encoder,
            settings=settings_fingerprint,
            split=split_fingerprint,
            code=digest_code(type(method)),
            study=study,
            views=encoded.views_for(n_views(method)),
            # A split that two publications have in common is a run of each.
            **({"image_choice": image_choice} if is_published and method.learns else {}),
            **base,
        ),
        image_choice=image_choice if method.learns else "own",
        n_base_classes=n_base_classes,
        drawn_classes=drawn,
        selection_images=selection_images,
    )


def digested_choice(image_choice: str) -> dict[str, Any]:
    """What the fingerprint of settings says of an image choice.

    So a leaderboard shows published choices and budgets beside sampled images, not averaged with them.
    """
    if image_choice.startswith(BUDGET):
        return {"published": False, "budget": int(image_choice.removeprefix(BUDGET))}
    return {"published": image_choice != "own"}


def with_targets(specs: Sequence[RunSpec], targets: Sequence[Target]) -> list[RunSpec]:
    """The runs of a sweep, each followed by one for each dataset on which its classifier can be tested.

    A classifier without class prototypes is tested where the classes are its own.
    """
    return [
        each
        for spec in specs
        for each in (
            spec,
            *(_tested_on(spec, target) for target in targets if target.can_test(spec.method)),
        )
    ]


def _tested_on(spec: RunSpec, target: Target) -> RunSpec:
    fingerprint = digest_values(
        run=spec.fingerprint, target=target.digest(), extension=digest_modules(*TESTS_ELSEWHERE)
    )
    return replace(spec, target=target, fingerprint=fingerprint)
