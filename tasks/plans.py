"""Which runs a sweep consists of, and which of them are on record already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clip_adapter.datasets import DatasetError, DatasetIndex, FewShotSplit, sample_few_shot
from clip_adapter.methods import Method
from tasks.provenance import digest_code, digest_settings, digest_values
from tasks.references import EncodedDataset, IndexedDataset
from tasks.stored_indexes import read_index

__all__ = ["PlannedRun", "check_splits", "plan_runs"]


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


def check_splits(dataset: IndexedDataset, *, shots: Sequence[int], seeds: Sequence[int]) -> None:
    """Raise what `plan_runs` would raise, before any image has been encoded."""
    _sample_splits(read_index(dataset), shots=shots, seeds=seeds)


def plan_runs(
    encoded: EncodedDataset,
    index: DatasetIndex,
    methods: Iterable[Method],
    *,
    shots: Sequence[int],
    seeds: Sequence[int],
) -> list[PlannedRun]:
    """One run a method, shot and seed; a single one for a method that does not learn.

    Raises:
        NotEnoughImagesError: if a class has fewer images than shots.
        DatasetError: if there is nothing to test on.
    """
    splits = _sample_splits(index, shots=shots, seeds=seeds)
    return [
        _plan(encoded, index, method, split)
        for method in methods
        for split in (splits if method.learns else splits[:1])
    ]


def _sample_splits(
    index: DatasetIndex, *, shots: Sequence[int], seeds: Sequence[int]
) -> list[FewShotSplit]:
    splits = [
        sample_few_shot(index, shots=shot, seed=seed)
        for shot in sorted(set(shots))
        for seed in sorted(set(seeds))
    ]
    _check_every_class_is_tested(index)
    return splits


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
    encoded: EncodedDataset, index: DatasetIndex, method: Method, split: FewShotSplit
) -> PlannedRun:
    dataset = encoded.dataset
    split_fingerprint = split.fingerprint(index.image_sha256) if method.learns else ""
    settings_fingerprint = digest_settings(
        method, class_names=dataset.class_names, templates=dataset.templates
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
        ),
    )
