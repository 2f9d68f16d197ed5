"""Two methods compared on the same test images, at every seed that both have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.database import RunDatabase, connect
from clip_adapter.runs.errors import IncomparableRunsError, RunStoreError
from clip_adapter.runs.names import Configuration, find_configurations, name_configurations
from clip_adapter.runs.paired import PairedDifference, paired_difference
from clip_adapter.runs.records import RunRecord
from clip_adapter.runs.store import read_runs
from feature_cache import Location

if TYPE_CHECKING:  # takes time to import, and only describes shapes
    from jaxtyping import Bool

_CORRECT = """
SELECT run_id, correct, images, training_images
FROM internal.correct_images LEFT JOIN training_sets USING (split_fingerprint)
WHERE run_id IN $run_ids
"""
_Seed = int | None


@dataclass(frozen=True)
class MethodResults:
    """The runs of a method with its settings at one number of shots.

    Attributes:
        runs: one run for each seed, of one dataset, encoder and image choice.
        name: name of the method, with the words that tell these runs from others of it.
    """

    runs: tuple[RunRecord, ...]
    name: str

    @property
    def last(self) -> RunRecord:
        """The run of the last seed; all runs have its dataset, encoder, method and shots."""
        return self.runs[-1]


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """The test images that a run classifies correctly.

    Attributes:
        correct: whether each image is classified correctly, in the order of the test split.
        images: digest over the images and their labels, in that order.
        training_images: digest over the images that the run was trained on, in any order; None where
            it was trained on none, or they are not recorded.
    """

    correct: Bool[np.ndarray, " n"]
    images: str
    training_images: str | None = None


def read_correctness(database: RunDatabase, runs: Iterable[RunRecord]) -> dict[str, Correctness]:
    """Read by run id what runs classify correctly; runs whose predictions are lost are left out."""
    table = database.query(_CORRECT, {"run_ids": sorted({run.run_id for run in runs})})
    return {
        run_id: Correctness(
            correct=correct.values.to_numpy(zero_copy_only=False),
            images=images,
            training_images=training_images,
        )
        for run_id, correct, images, training_images in zip(
            table["run_id"].to_pylist(),
            table["correct"],
            table["images"].to_pylist(),
            table["training_images"].to_pylist(),
            strict=True,
        )
    }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The difference between two methods, a and b.

    Attributes:
        a: results of the first method.
        b: results of the second method.
        seeds: seeds at which both were trained on the same images; (None,) where neither is
            trained.
        shots: labelled images a class of the method that is trained on more.
        paired: difference on the same test images.
    """

    a: MethodResults
    b: MethodResults
    seeds: tuple[int | None, ...]
    shots: int
    paired: PairedDifference


def compare_methods(
    root: Location,
    methods: tuple[str, str],
    *,
    dataset: str,
    shots: int,
    model: str | None = None,
) -> Comparison:
    """Compare two methods of a store; one that uses no shots is compared at any number.

    Args:
        root: location of the store.
        methods: names; where a method has runs of several settings or image choices, with the words in
            brackets that tell them apart in tables, as "clip-adapter (ratio 0.2)". See `find_configurations`.
        dataset: name of the dataset in the store.
        shots: labelled images a class.
        model: name or fingerprint of an encoder, where there are runs of several.

    Raises:
        UnknownNameError: there are no such runs; the message suggests the nearest name.
        RunStoreError: there is no store, or there are runs of several models or settings.
        IncomparableRunsError: the runs share no seed, training images or test images.
    """
    with connect(root) as database:
        runs = [result.run for result in read_runs(database, metrics=False)]
        runs = _of_model(_of_dataset(runs, dataset), model)
        names = name_configurations(runs)
        at_shots = _by_configuration(_with_shots(runs, shots))
        first, second = (
            _choose(at_shots, name, fitting=find_configurations(name, runs), names=names)
            for name in methods
        )
        correctness = read_correctness(database, (*first.runs, *second.runs))
        return compare(first, second, correctness)


def compare(
    a: MethodResults, b: MethodResults, correctness: Mapping[str, Correctness]
) -> Comparison:
    """Pair the seeds of two methods, then their test images.

    Args:
        a: results of the first method.
        b: results of the second method.
        correctness: what the runs of both classify correctly, by run id.

    Raises:
        IncomparableRunsError: the runs share no seed, training images or test images, or their
            predictions are lost.
    """
    pairs = _pairs(a, b)
    lost = [run_id for pair in pairs.values() for run_id in pair if run_id not in correctness]
    if lost:
        raise IncomparableRunsError(
            f"the predictions of {len(lost)} runs of {a.name} or {b.name} are lost: train again"
        )
    _check_same_images(
        a, b, {correctness[run_id].images for pair in pairs.values() for run_id in pair}
    )
    correct_a, correct_b = (
        np.stack([correctness[pair[side]].correct for pair in pairs.values()]) for side in (0, 1)
    )
    return Comparison(
        a=a,
        b=b,
        seeds=tuple(pairs),
        shots=max(a.last.shots, b.last.shots),
        paired=paired_difference(
            correct_a, correct_b, same_training_images=_is_one_set(pairs, correctness)
        ),
    )


def _is_one_set(
    pairs: Mapping[_Seed, tuple[str, str]], correctness: Mapping[str, Correctness]
) -> bool:
    """Whether all runs that were trained on images were trained on the same ones."""
    found = [correctness[run_id].training_images for pair in pairs.values() for run_id in pair]
    # Runs of one side may be zero-shot's, which is trained on no image.
    sides = [{*found[0::2]}, {*found[1::2]}]
    return {*found} != {None} and all(len(side) == 1 for side in sides)


def _pairs(a: MethodResults, b: MethodResults) -> dict[_Seed, tuple[str, str]]:
    """The run ids of both, by the seed at which they learned from the same images."""
    runs_a, runs_b = _by_seed(a, b), _by_seed(b, a)
    common = [seed for seed in runs_a if seed in runs_b]
    if not common:
        raise IncomparableRunsError(
            f"{a.name} and {b.name} have no seed in common ({_listed(runs_a)} and "
            f"{_listed(runs_b)}): train both with the same seeds"
        )
    splits = {
        seed: {runs_a[seed].split_fingerprint, runs_b[seed].split_fingerprint} for seed in common
    }
    pairs = {
        seed: (runs_a[seed].run_id, runs_b[seed].run_id)
        for seed in common
        if "" in splits[seed] or len(splits[seed]) == 1
    }
    if not pairs:
        raise IncomparableRunsError(
            f"{a.name} and {b.name} learned from different images at every seed in common "
            f"({_listed(common)}): train both on the same few-shot choices"
        )
    return pairs


def _by_seed(results: MethodResults, other: MethodResults) -> dict[_Seed, RunRecord]:
    """The run of each seed; the run of a method without seeds serves at each of the other's."""
    runs = {run.seed: run for run in results.runs}
    if None in runs:
        return {run.seed: runs[None] for run in other.runs}
    return runs


def _check_same_images(a: MethodResults, b: MethodResults, digests: set[str]) -> None:
    if len(digests) > 1:
        raise IncomparableRunsError(
            f"{a.name} and {b.name} were not tested on the same images with the same labels "
            f"({len(digests)} different test splits): train both on the dataset as it is now"
        )


def _of_dataset(runs: Sequence[RunRecord], dataset: str) -> list[RunRecord]:
    found = [run for run in runs if run.dataset == dataset]
    if not found:
        known = dict.fromkeys(run.dataset for run in runs)
        raise UnknownNameError("dataset with runs", dataset, known)
    return found


def _of_model(runs: Sequence[RunRecord], model: str | None) -> list[RunRecord]:
    names = {run.encoder: run.model for run in runs}
    chosen = {
        encoder
        for encoder, name in names.items()
        if model is None or model == name or encoder.startswith(model)
    }
    if not chosen:
        raise UnknownNameError("model with runs", str(model), dict.fromkeys(names.values()))
    if len(chosen) > 1:
        listed = ", ".join(f"{names[encoder]} ({encoder[:8]})" for encoder in sorted(chosen))
        raise RunStoreError(
            f"there are runs of {len(chosen)} encoders: name one with --model, by its name or "
            f"fingerprint, of {listed}"
        )
    return [run for run in runs if run.encoder in chosen]


def _with_shots(runs: Sequence[RunRecord], shots: int) -> list[RunRecord]:
    there = sorted({run.shots for run in runs})
    if shots not in there:
        raise UnknownNameError("number of shots with runs", str(shots), map(str, there))
    return [run for run in runs if run.shots in {0, shots}]


def _by_configuration(runs: Iterable[RunRecord]) -> dict[Configuration, list[RunRecord]]:
    grouped: dict[Configuration, list[RunRecord]] = {}
    for run in runs:
        grouped.setdefault(Configuration.of(run), []).append(run)
    return grouped


def _choose(
    runs: Mapping[Configuration, Sequence[RunRecord]],
    name: str,
    *,
    fitting: Sequence[Configuration],
    names: Mapping[Configuration, str],
) -> MethodResults:
    """The results of the one configuration with runs that the name fits."""
    found = [each for each in fitting if each in runs]
    if not found:
        method = re.split(r"@| \(", name)[0]
        of_method = [names[each] for each in runs if each.method == method]
        raise UnknownNameError(
            "method with runs at these shots", name, of_method or [names[each] for each in runs]
        )
    if len(found) > 1:
        raise RunStoreError(
            f"{name!r} ran with {len(found)} different settings or choices of images: name one of "
            f"{', '.join(repr(names[each]) for each in found)}"
        )
    return MethodResults(tuple(runs[found[0]]), names[found[0]])


def _listed(seeds: Iterable[int | None]) -> str:
    return ", ".join(str(seed) for seed in seeds)
