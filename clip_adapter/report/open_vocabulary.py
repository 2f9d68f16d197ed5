"""Open vocabulary: what classes that are added by name cost the others, and how well they are found."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from clip_adapter.report.numbers import Mean, mean_of, percent, points, spread
from clip_adapter.report.results import read_measured, results_of, train_on_same_images
from clip_adapter.report.tables import Table
from clip_adapter.runs import (
    BASE_TO_NEW,
    OPEN_VOCABULARY,
    RunRecord,
    RunResult,
    connect,
    name_image_choices,
    with_words,
)
from clip_adapter.shots import shots_in_words
from feature_cache import Location


@dataclass(frozen=True, kw_only=True)
class OpenVocabulary:
    """The accuracies of a method that was trained on base classes; means over seeds.

    Attributes:
        method: name of the method.
        images: what chose its training images, in words; empty for our sampler.
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
    images: str = ""
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
        (*_key(each.run), each.run.seed): each
        for each in sorted(results, key=lambda result: result.recency)
        if each.run.study == OPEN_VOCABULARY
        and all(metric in each.metrics for metric in BASE_TO_NEW.values())
    }
    groups: dict[tuple[str, str, str, int], list[RunResult]] = defaultdict(list)
    for result in latest.values():
        groups[_key(result.run)].append(result)
    images = name_image_choices(dict.fromkeys(choice for _, choice, _, _ in groups))
    return [
        _summary(sorted(groups[key], key=lambda each: each.run.seed or 0), images=images[key[1]])
        for key in sorted(groups, key=lambda key: (key[3] > 0, key))
    ]


def open_vocabulary_table(found: Sequence[OpenVocabulary]) -> Table:
    """One row for each method, recipe and number of shots, in percent with intervals over seeds."""
    rows = [
        (
            with_words(each.method, each.recipe and f"recipe {each.recipe}", each.images),
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


def _key(run: RunRecord) -> tuple[str, str, str, int]:
    return run.method, run.image_choice, run.settings.recipe or "", run.shots


def _summary(results: Sequence[RunResult], *, images: str) -> OpenVocabulary:
    run = results[0].run
    values = {
        name: [result.metrics[metric] for result in results] for name, metric in BASE_TO_NEW.items()
    }
    base, among_all = values["base_accuracy"], values["base_accuracy_among_all"]
    mean = partial(mean_of, same_images=train_on_same_images(results))
    return OpenVocabulary(
        method=run.method,
        images=images,
        recipe=run.settings.recipe or "",
        shots=run.shots,
        seeds=tuple(each.run.seed for each in results if each.run.seed is not None),
        base=mean(base),
        base_among_all=mean(among_all),
        change=mean([after - before for before, after in zip(base, among_all, strict=True)]),
        new_among_all=mean(values["new_accuracy_among_all"]),
        harmonic_mean_among_all=mean(values["harmonic_mean_among_all"]),
    )
