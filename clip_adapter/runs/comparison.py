"""Two methods compared on the same test images, at every seed that both have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.contestants import (
    Answers,
    Contestant,
    choose_contestant,
    read_answers,
    read_contestants,
)
from clip_adapter.runs.database import connect
from clip_adapter.runs.errors import IncomparableRunsError, RunStoreError
from clip_adapter.runs.paired import PairedDifference, paired_difference
from feature_cache import Location

_Seed = int | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Contestants a and b, and how they differ.

    Attributes:
        seeds: at which both were trained on the same images; (None,) where neither is trained.
        shots: of the one that is trained on more.
        paired: what came of it.
    """

    a: Contestant
    b: Contestant
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
    """Compare two methods of the store at `root`; one that uses no shots is there at any number.

    Args:
        root: of the store.
        methods: names, with `@` and the fingerprint of settings where there are several.
        dataset: its name in the store.
        shots: labelled images a class.
        model: name or fingerprint of an encoder, where the dataset was seen through several.

    Raises:
        RunStoreError: there is no store.
        UnknownNameError: there are no such runs; it suggests the nearest.
        RunStoreError: there are runs of several models or settings to choose from.
        IncomparableRunsError: the runs share no seed, training images or test images.
    """
    with connect(root) as database:
        here = _of_dataset(read_contestants(database), dataset)
        at_shots = _with_shots(_of_model(here, model), shots)
        first, second = (choose_contestant(at_shots, name) for name in methods)
        return compare(first, second, read_answers(database, (first, second)))


def compare(a: Contestant, b: Contestant, answers: Mapping[str, Answers]) -> Comparison:
    """Pair the seeds of two contestants, then their images.

    Raises:
        IncomparableRunsError: the runs share no seed, training images or test images.
    """
    pairs = _pairs(a, b)
    lost = [run_id for pair in pairs.values() for run_id in pair if run_id not in answers]
    if lost:
        raise IncomparableRunsError(
            f"the predictions of {len(lost)} runs of {a.name} or {b.name} are lost: train again"
        )
    _check_same_images(a, b, [answers[run_id].images for pair in pairs.values() for run_id in pair])
    correct_a, correct_b = (
        np.stack([answers[pair[side]].correct for pair in pairs.values()]) for side in (0, 1)
    )
    return Comparison(
        a=a,
        b=b,
        seeds=tuple(pairs),
        shots=max(a.shots, b.shots),
        paired=paired_difference(correct_a, correct_b),
    )


def _pairs(a: Contestant, b: Contestant) -> dict[_Seed, tuple[str, str]]:
    """The run ids of both, by the seed at which they learned from the same images."""
    runs_a, runs_b = _by_seed(a, b), _by_seed(b, a)
    common = [seed for seed in runs_a if seed in runs_b]
    if not common:
        raise IncomparableRunsError(
            f"{a.name} and {b.name} have no seed in common ({_listed(runs_a)} and "
            f"{_listed(runs_b)}): train both with the same seeds"
        )
    pairs = {
        seed: (runs_a[seed][1], runs_b[seed][1])
        for seed in common
        if "" in {runs_a[seed][0], runs_b[seed][0]} or runs_a[seed][0] == runs_b[seed][0]
    }
    if not pairs:
        raise IncomparableRunsError(
            f"{a.name} and {b.name} learned from different images at every seed in common "
            f"({_listed(common)}): train both on the same few-shot choices"
        )
    return pairs


def _by_seed(contestant: Contestant, other: Contestant) -> dict[_Seed, tuple[str, str]]:
    """(Split, run id) a seed; a contestant without seeds takes part in each of the other's."""
    runs = {seed: (split, run_id) for seed, split, run_id in contestant.runs}
    if None in runs:
        return {seed: runs[None] for seed, *_ in other.runs}
    return runs


def _check_same_images(a: Contestant, b: Contestant, digests: list[str]) -> None:
    if len(set(digests)) > 1:
        raise IncomparableRunsError(
            f"{a.name} and {b.name} were not tested on the same images with the same labels "
            f"({len(set(digests))} different test splits): train both on the dataset as it is now"
        )


def _of_dataset(contestants: Sequence[Contestant], dataset: str) -> list[Contestant]:
    found = [each for each in contestants if each.dataset == dataset]
    if not found:
        known = dict.fromkeys(each.dataset for each in contestants)
        raise UnknownNameError("dataset with runs", dataset, known)
    return found


def _of_model(contestants: list[Contestant], model: str | None) -> list[Contestant]:
    # The latest name of an encoder is that of whichever of its runs was made last.
    names = {each.encoder: each.model for each in contestants}
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
            f"there are runs of {len(chosen)} encoders: name one by its name or fingerprint, "
            f"of {listed}"
        )
    return [each for each in contestants if each.encoder in chosen]


def _with_shots(contestants: list[Contestant], shots: int) -> list[Contestant]:
    there = sorted({each.shots for each in contestants})
    if shots not in there:
        raise UnknownNameError("number of shots with runs", str(shots), map(str, there))
    return [each for each in contestants if each.shots in {0, shots}]


def _listed(seeds: Iterable[int | None]) -> str:
    return ", ".join(str(seed) for seed in seeds)
