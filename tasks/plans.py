"""Which runs a sweep consists of, and which of them are on record already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    FewShotSampler,
    FewShotSplit,
    read_few_shot_indices,
)
from clip_adapter.methods import Method
from clip_adapter.shots import ALL_SHOTS
from tasks.provenance import digest_code, digest_settings, digest_values
from tasks.references import EncodedDataset, Encoding, IndexedDataset
from tasks.stored_indexes import read_index

__all__ = ["FewShotChoices", "PlannedRun", "n_views", "plan_runs", "training_rows", "with_views"]


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run to be made.

    Attributes:
        method: with the settings asked for.
        split: what it learns from; for a method that does not learn, any split.
        split_fingerprint: of the split; empty for a method that does not learn.
        settings_fingerprint: of the settings and the prompts.
        fingerprint: of everything that decides the result.
    """

    method: Method
    split: FewShotSplit
    split_fingerprint: str
    settings_fingerprint: str
    fingerprint: str

    @property
    def shots(self) -> int:
        """Labelled images a class; 0 for a method that does not learn."""
        return self.split.shots if self.method.learns else 0

    @property
    def seed(self) -> int | None:
        """None for a method that does not learn."""
        return self.split.seed if self.method.learns else None


@dataclass(frozen=True, kw_only=True)
class FewShotChoices:
    """Which few-shot splits a sweep consists of.

    Attributes:
        shots: labelled images a class.
        seeds: of our own choice, or the numbers of published ones.
        indices: folder of published choices, `shot_{K}-seed_{S}.json`; ours when None.
    """

    shots: Sequence[int]
    seeds: Sequence[int]
    indices: Path | None = None

    def splits(self, index: DatasetIndex) -> list[FewShotSplit]:
        """All of them, by shots, then seeds.

        Raises:
            NotEnoughImagesError: if a class has fewer images than shots.
            SplitFileError: a published choice is not there, or not of this dataset.
            DatasetError: if there is nothing to test on.
        """
        sampler = FewShotSampler(index)
        found = [
            self._split(sampler, shots=shots, seed=seed)
            for shots in sorted(set(self.shots))
            for seed in sorted(set(self.seeds))
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
        return read_few_shot_indices(self.indices, sampler.index, shots=shots, seed=seed)


def training_rows(dataset: IndexedDataset, choices: FewShotChoices) -> list[int]:
    """The rows of all images that some split trains on, in rising order.

    Raises what `plan_runs` would raise, before any image has been encoded.
    """
    splits = choices.splits(read_index(dataset))
    return sorted({int(row) for split in splits for row in split.train_rows})


def n_views(method: Method) -> int:
    """Augmented views a method trains on; 0 for one that takes the images themselves."""
    wanted: int = getattr(method, "views", 0)
    return wanted


def with_views(encoding: Encoding, methods: Iterable[Method]) -> Encoding:
    """The same encoding with as many augmented views as the most demanding method wants."""
    return replace(encoding, views=max(n_views(method) for method in methods))


def plan_runs(
    encoded: EncodedDataset,
    index: DatasetIndex,
    methods: Iterable[Method],
    *,
    choices: FewShotChoices,
    study: str | None = None,
) -> list[PlannedRun]:
    """One run a method, shot and seed; a single one for a method that does not learn.

    Raises what `FewShotChoices.splits` raises.
    """
    splits = choices.splits(index)
    return [
        _plan(encoded, index, method, split, study=study, published=choices.indices is not None)
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
            f"image ({', '.join(untested[:5])}), so that an accuracy would leave them out: add "
            "images, or sort them into train and test folders yourself"
        )


def _plan(
    encoded: EncodedDataset,
    index: DatasetIndex,
    method: Method,
    split: FewShotSplit,
    *,
    study: str | None,
    published: bool,
) -> PlannedRun:
    dataset = encoded.dataset
    split_fingerprint = split.fingerprint(index.image_sha256) if method.learns else ""
    settings_fingerprint = digest_settings(
        method,
        class_names=dataset.class_names,
        templates=dataset.templates,
        # On a leaderboard others' choices of images stand beside ours, not among them.
        published=published and method.learns,
    )
    return PlannedRun(
        method=method,
        split=split,
        split_fingerprint=split_fingerprint,
        settings_fingerprint=settings_fingerprint,
        fingerprint=digest_values(
            index=dataset.index_fingerprint,
            encoder=encoded.encoder,
            settings=settings_fingerprint,
            split=split_fingerprint,
            code=digest_code(),
            study=study,
            views=encoded.views_for(n_views(method)),
        ),
    )
