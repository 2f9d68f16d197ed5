"""What choosing hyper-parameters on test images adds to the accuracy, and what other choices cost."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clip_adapter.report.numbers import Mean, mean_of, percent, points, spread
from clip_adapter.report.results import read_measured, results_of, train_on_same_images
from clip_adapter.report.tables import Table
from clip_adapter.runs import RunRecord, RunResult, connect, name_image_choices, with_words
from clip_adapter.shots import shots_in_words
from feature_cache import Location

SELECTION: Final = "selection"
"""Name of the study."""
ORACLE = "test (oracle)"
CHOICES = ("whole validation split", "few validation images", "held-out shots", "defaults")
"""What chooses in place of the test images: a few validation images are min(K, 4) a class."""
_ACCURACY = ("test", "accuracy")
_BySeed = dict[int, RunResult]
_FEW = {"validation": "few validation images", "held-out shots": "held-out shots"}


@dataclass(frozen=True, kw_only=True)
class SelectionCosts:
    """A method whose settings were chosen on different images, from the same training images.

    Attributes:
        method: name of the method.
        images: what chose its training images, in words; empty for our sampler.
        recipe: recipe of its training; empty where it has none.
        shots: labelled images a class.
        seeds: seeds of its runs.
        accuracy: mean test accuracy over seeds by what chose; `ORACLE` is an upper bound, no result.
        added: what choosing on test adds to the accuracy of each other choice, seed by seed; the mean over
            the seeds that both have.
    """

    method: str
    images: str = ""
    recipe: str
    shots: int
    seeds: tuple[int, ...]
    accuracy: Mapping[str, Mean]
    added: Mapping[str, Mean]


def read_selection_costs(root: Location, *, dataset: str, encoder: str) -> list[SelectionCosts]:
    """Read the results of the study on one dataset with one encoder, see `selection_costs_of`.

    Raises:
        RunStoreError: there is no store.
    """
    with connect(root) as database:
        results = read_measured(database, "study_runs")
    return selection_costs_of(results_of(results, dataset, encoder))


def selection_costs_of(results: Sequence[RunResult]) -> list[SelectionCosts]:
    """The accuracies of each method, recipe and number of shots, in the order of their names.

    Args:
        results: runs of one dataset and encoder; those of other studies are passed over.
    """
    groups: dict[tuple[str, str, str, int], dict[str, _BySeed]] = defaultdict(
        lambda: defaultdict(dict)
    )
    # A later run of one choice, shots and seed replaces an earlier one, as in other studies.
    for result in sorted(results, key=lambda result: result.recency):
        run = result.run
        if run.study == SELECTION and _ACCURACY in result.metrics:
            method = run.method.removesuffix(" (oracle)")
            key = method, run.image_choice, run.settings.recipe or "", run.shots
            groups[key][_choice(run)][run.seed or 0] = result
    images = name_image_choices(dict.fromkeys(choice for _, choice, _, _ in groups))
    return [
        _costs(
            method, images[choice], recipe, shots, by_choice=groups[method, choice, recipe, shots]
        )
        for method, choice, recipe, shots in sorted(groups)
    ]


def selection_costs_table(found: Sequence[SelectionCosts]) -> Table:
    """One row for each method, recipe and shots: accuracy of the oracle, and what it adds, in points."""
    rows = [
        (
            with_words(each.method, each.recipe and f"recipe {each.recipe}", each.images),
            shots_in_words(each.shots),
            percent(each.accuracy[ORACLE]) if ORACLE in each.accuracy else "",
            *(added_in_points(each, choice) for choice in CHOICES),
        )
        for each in found
    ]
    header = ("method", "shots", "chosen on test", *(f"over {choice}" for choice in CHOICES))
    return Table(header=header, rows=tuple(rows))


def added_in_points(costs: SelectionCosts, choice: str) -> str:
    """What choosing on test adds to one choice, in points with its interval; empty if unknown."""
    if choice not in costs.added:
        return ""
    return f"{points(costs.added[choice].value)}{spread(costs.added[choice])}"


def _choice(run: RunRecord) -> str:
    """What chose, which is not always what was asked to: held-out shots cannot choose at one shot."""
    others = {"test": ORACLE, "whole": "whole validation split"}
    images = (run.hyperparameters or {}).get("selection_images", "few")
    return others.get(images) or _FEW.get(run.selected_on, "defaults")


def _costs(
    method: str, images: str, recipe: str, shots: int, *, by_choice: Mapping[str, _BySeed]
) -> SelectionCosts:
    oracle = by_choice.get(ORACLE, {})
    pairs = {
        choice: [(oracle[seed], other) for seed, other in sorted(others.items()) if seed in oracle]
        for choice, others in by_choice.items()
        if choice != ORACLE
    }
    return SelectionCosts(
        method=method,
        images=images,
        recipe=recipe,
        shots=shots,
        seeds=tuple(sorted({seed for results in by_choice.values() for seed in results})),
        accuracy={
            choice: mean_of(
                [each.metrics[_ACCURACY] for each in results.values()],
                same_images=train_on_same_images(results.values()),
            )
            for choice, results in by_choice.items()
        },
        added={
            choice: mean_of(
                [one.metrics[_ACCURACY] - other.metrics[_ACCURACY] for one, other in both],
                same_images=train_on_same_images(one for one, _ in both),
            )
            for choice, both in pairs.items()
            if both
        },
    )
