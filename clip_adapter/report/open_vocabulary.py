"""Open vocabulary: what classes that are added by name cost the others, and how well they are found."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from clip_adapter.report.numbers import Mean, mean_of, percent, points, spread
from clip_adapter.report.results import read_measured, results_of, train_on_same_images
from clip_adapter.report.tables import Table
from clip_adapter.runs import BASE_TO_NEW, OPEN_VOCABULARY, RunResult, connect
from clip_adapter.shots import shots_in_words, with_image_choice
from feature_cache import Location


@dataclass(frozen=True, kw_only=True)
class OpenVocabulary:
    """The accuracies of a method that was trained on base classes; means over seeds.

    Attributes:
        method: name of the method, with what chose its images if that was not our sampler.
        recipe: recipe of its training; empty where it has none.
        shots: labelled images of each base class; 0 for a method that uses none.
        seeds: seeds of its runs; none for a method without randomness.
        base: on images of base classes, told apart from base classes alone.
        base_among_all: on images of base classes, when the new classes compete.
        change: `base_among_all - base`, seed by seed; not above 0.
        new_among_all: on images of new classes, when all classes compete.
        harmonic_mean_among_all: of the two among all classes.
    """

    method: str
    recipe: str
    shots: int
    seeds: tuple[int, ...]
    base: Mean
    base_among_all: Mean
    change: Mean
    new_among_all: Mean
    harmonic_mean_among_all: Mean


def read_open_vocabulary(root: Location, *, dataset: str, encoder: str) -> list[OpenVocabulary]:
    """Read the results of the study on one dataset with one encoder, see `open_vocabulary_of`.

    Raises:
        RunStoreError: there is no store.
    """
    with connect(root) as database:
        results = read_measured(database, "study_runs")
    return open_vocabulary_of(results_of(results, dataset, encoder))


def open_vocabulary_of(results: Sequence[RunResult]) -> list[OpenVocabulary]:
    """The accuracies of each method, recipe and number of shots; zero-shot first, then by name and shots.

    Args:
        results: runs of one dataset and encoder; those of other studies are passed over.
    """
    # A later run of a method, shots and seed replaces an earlier one, as in other studies.
    latest = {
        (_method(each), each.run.settings.recipe or "", each.run.shots, each.run.seed): each
        for each in sorted(results, key=lambda result: result.recency)
        if each.run.study == OPEN_VOCABULARY
        and all(metric in each.metrics for metric in BASE_TO_NEW.values())
    }
    groups: dict[tuple[str, str, int], list[RunResult]] = defaultdict(list)
    for (method, recipe, shots, _), result in latest.items():
        groups[method, recipe, shots].append(result)
    ordered = sorted(groups, key=lambda key: (key[2] > 0, key))
    return [
        _summary(*key, sorted(groups[key], key=lambda each: each.run.seed or 0)) for key in ordered
    ]


def open_vocabulary_table(found: Sequence[OpenVocabulary]) -> Table:
    """One row for each method, recipe and number of shots, in percent with intervals over seeds."""
    rows = [
        (
            f"{each.method} ({each.recipe})" if each.recipe else each.method,
            shots_in_words(each.shots),
            percent(each.base),
            percent(each.base_among_all),
            _change(each.change),
            percent(each.new_among_all),
            percent(each.harmonic_mean_among_all),
        )
        for each in found
    ]
    header = ("method", "shots", "base alone", "base", "change", "new", "harmonic mean")
    return Table(header=header, rows=tuple(rows))


def _change(change: Mean) -> str:
    return f"{points(change.value)}{spread(change)}"


def _method(result: RunResult) -> str:
    return with_image_choice(result.run.method, result.run.image_choice)


def _summary(method: str, recipe: str, shots: int, results: Sequence[RunResult]) -> OpenVocabulary:
    values = {
        name: [result.metrics[metric] for result in results] for name, metric in BASE_TO_NEW.items()
    }
    base, among_all = values["base_accuracy"], values["base_accuracy_among_all"]
    mean = partial(mean_of, same_images=train_on_same_images(results))
    return OpenVocabulary(
        method=method,
        recipe=recipe,
        shots=shots,
        seeds=tuple(each.run.seed for each in results if each.run.seed is not None),
        base=mean(base),
        base_among_all=mean(among_all),
        change=mean([after - before for before, after in zip(base, among_all, strict=True)]),
        new_among_all=mean(values["new_accuracy_among_all"]),
        harmonic_mean_among_all=mean(values["harmonic_mean_among_all"]),
    )
