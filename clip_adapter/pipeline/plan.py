"""The runs that a sweep consists of, each with the fingerprint of what decides its result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    FewShotSampler,
    FewShotSplit,
    read_few_shot_indices,
)
from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods import Method
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import n_views
from clip_adapter.pipeline.provenance import digest_code, digest_settings, digest_values
from clip_adapter.shots import ALL_SHOTS

__all__ = ["RunSpec", "SplitSpec", "SweepError", "plan_runs", "training_rows"]


class SweepError(ClipAdapterError, RuntimeError):
    """Some methods of a sweep could not be trained; the others are recorded."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
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
class SplitSpec:
    """The few-shot splits that a sweep consists of.

    Attributes:
        shots: numbers of labelled images a class.
        seeds: seeds of our own choice of images, or the numbers of published ones.
        indices: folder of published choices, `shot_{K}-seed_{S}.json`; ours when None.
    """

    shots: Sequence[int]
    seeds: Sequence[int]
    indices: Path | None = None

    @property
    def published(self) -> bool:
        """Whether the splits are published ones."""
        return self.indices is not None

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


def training_rows(splits: Sequence[FewShotSplit]) -> list[int]:
    """The rows of all images that some split trains on, in rising order."""
    return sorted({int(row) for split in splits for row in split.train_rows})


def plan_runs(
    encoded: EncodedDataset,
    methods: Iterable[Method],
    splits: Sequence[FewShotSplit],
    *,
    published: bool = False,
    study: str | None = None,
) -> list[RunSpec]:
    """One run a method, shot and seed; a single one for a method that does not learn.

    Args:
        encoded: the dataset with its features.
        methods: with the settings asked for.
        splits: by shots, then seeds.
        published: whether the splits are published ones.
        study: name of the study that the runs belong to.
    """
    return [
        _plan(encoded, method, split, study=study, published=published)
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
    method: Method,
    split: FewShotSplit,
    *,
    study: str | None,
    published: bool,
) -> RunSpec:
    dataset = encoded.dataset
    split_fingerprint = split.fingerprint(dataset.index.image_sha256) if method.learns else ""
    settings_fingerprint = digest_settings(
        method,
        class_names=dataset.class_names,
        templates=dataset.templates,
        # On a leaderboard others' choices of images stand beside ours, not among them.
        published=published and method.learns,
    )
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
            code=digest_code(),
            study=study,
            views=encoded.views_for(n_views(method)),
        ),
    )
