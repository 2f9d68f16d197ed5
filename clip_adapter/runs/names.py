"""Names of methods and encoders in tables: the words that tell the rows of one table apart."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from clip_adapter.runs.database import RunDatabase
from clip_adapter.runs.records import RunRecord
from clip_adapter.runs.store import read_one_each
from clip_adapter.shots import image_choice_in_words, unusual_images

_IMAGES = "image choice"
"""Key of the fact; no setting's name has a space."""
_TRAINING = {"optimizer", "epochs", "stopped_epoch", "batch_size"}
"""Settings that mostly follow from a recipe, as do those with a fraction."""
_MOST_LISTED = 3
"""Largest number of candidates that are listed; of more the number and the range is told."""
_ENCODERS = """
SELECT encoder, arg_max(model, (started_at, run_id)) AS model, any_value(precision) AS precision
FROM runs GROUP BY encoder
"""
_CONFIGURATIONS = """
SELECT run_id, dataset, encoder, method, settings_fingerprint, image_choice, shots
FROM runs WHERE run_id IN $run_ids
"""

LEGEND = {
    "publication": "publication: first digits of `image_choice` in SQL",
    "settings": "settings: first digits of `settings_fingerprint` in SQL; the recorded settings are equal",
}
"""What a word before digits of a fingerprint says, by that word."""


class Configuration(NamedTuple):
    """What the runs of one row of a table have in common, on one dataset with one encoder."""

    method: str
    settings_fingerprint: str
    image_choice: str

    @classmethod
    def of(cls, run: RunRecord) -> Self:
        """The configuration of a run."""
        return cls(run.method, run.settings_fingerprint, run.image_choice)


class _Fact(NamedTuple):
    """Something to say of a configuration.

    Attributes:
        words: the words.
        is_asked: whether it is something that a user asks for; others are said only where configurations
            are equal in all that was asked for.
    """

    words: str
    is_asked: bool = True


_Facts = dict[str, _Fact]


def name_configurations(runs: Iterable[RunRecord]) -> dict[Configuration, str]:
    """A name for each configuration: its method, and in brackets what tells it from others of the method.

    These are the settings that a user asks for, and what chose the training images, where they differ. Of
    configurations that are equal in all of them other numbers, prompts and classes are told, and last the
    digits of a fingerprint, which `LEGEND` explains. Images that our sampler did not choose are always told.
    `find_configurations` takes the names.

    Args:
        runs: runs of one dataset and encoder, at least one for each configuration and number of shots.
    """
    names = {}
    for method, facts in _facts_by_method(runs).items():
        for configuration, keys in _telling(facts).items():
            words = [fact.words for key, fact in facts[configuration].items() if key in keys]
            names[configuration] = with_words(method, *words)
    return names


def find_configurations(name: str, runs: Iterable[RunRecord]) -> list[Configuration]:
    """The configurations that a name fits: a method, and in brackets any of the words that are true of it.

    `METHOD@SETTINGS/CHOICE`, with the first digits of a fingerprint and the beginning of an image choice, is
    accepted as well.

    Args:
        name: a name, as `name_configurations` makes it.
        runs: runs of one dataset and encoder.
    """
    method, at, rest = name.partition("@")
    if at and " (" not in method:
        settings, _, choice = rest.partition("/")
        return [
            each
            for each in dict.fromkeys(map(Configuration.of, runs))
            if each.method == method
            and each.settings_fingerprint.startswith(settings)
            and each.image_choice.startswith(choice)
        ]
    return [
        configuration
        for method, facts in _facts_by_method(runs).items()
        for configuration, of_one in facts.items()
        if _fits(name, method, of_one)
    ]


def with_words(name: str, *words: str) -> str:
    """A name with words in brackets; empty ones are left out.

    >>> with_words("gda", "views 2", "published splits"), with_words("gda", "")
    ('gda (views 2, published splits)', 'gda')
    """
    said = ", ".join(filter(None, words))
    return f"{name} ({said})" if said else name


def with_names(database: RunDatabase, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a view with a `name` that tells those of one dataset and encoder apart.

    Args:
        database: database of the store.
        rows: rows with `dataset`, or `source`, and `encoder`, `method`, `settings_fingerprint`,
            `image_choice` and `shots`.
    """
    shown = {(*_state(row), _configuration(row)) for row in rows}
    counts = Counter((dataset, encoder, each.method) for dataset, encoder, each in shown)
    several = [key for key in shown if counts[key[0], key[1], key[2].method] > 1]
    at_shots = {(*_state(row), _configuration(row), row["shots"]) for row in rows}
    runs: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for run in _one_each(database, several):
        if (run.dataset, run.encoder, Configuration.of(run), run.shots) in at_shots:
            runs[run.dataset, run.encoder].append(run)
    names = {
        (*state, configuration): name
        for state, of_state in runs.items()
        for configuration, name in name_configurations(of_state).items()
    }
    alone = {key: with_words(key[2].method, unusual_images(key[2].image_choice)) for key in shown}
    named = {**alone, **names}
    return [{**row, "name": named[*_state(row), _configuration(row)]} for row in rows]


def _one_each(
    database: RunDatabase, keys: Collection[tuple[str, str, Configuration]]
) -> list[RunRecord]:
    if not keys:
        return []
    datasets, encoders, configurations = zip(*keys, strict=True)
    return read_one_each(
        database,
        sorted({each.settings_fingerprint for each in configurations}),
        datasets=sorted({*datasets}),
        encoders=sorted({*encoders}),
    )


def name_runs(database: RunDatabase, run_ids: Iterable[str]) -> dict[str, str]:
    """A name for each run by its id, as rows of a table with these runs; runs that are lost have none."""
    rows = database.query(_CONFIGURATIONS, {"run_ids": sorted(set(run_ids))}).to_pylist()
    return {row["run_id"]: row["name"] for row in with_names(database, rows)}


def name_encoders(database: RunDatabase) -> dict[str, str]:
    """A name for each encoder with runs, by fingerprint: its model, and what tells it from others of that name.

    That is the numeric format where these differ, and otherwise the first digits of the fingerprint.
    """
    models: dict[str, dict[str, str]] = defaultdict(dict)
    for row in database.query(_ENCODERS).to_pylist():
        models[row["model"]][row["encoder"]] = row["precision"]
    return {
        encoder: with_words(model, _encoder_word(encoder, of_model))
        for model, of_model in models.items()
        for encoder in of_model
    }


def name_image_choices(choices: Iterable[str]) -> dict[str, str]:
    """What chose training images, in words by image choice; empty for our sampler.

    >>> name_image_choices(["own", "published:01234567"])
    {'own': '', 'published:01234567': 'published splits'}
    >>> name_image_choices(["published:01234567", "published:89abcdef"])["published:01234567"]
    'published splits, publication 01234567'
    """
    words = {choice: unusual_images(choice) for choice in choices}
    return {
        choice: f"{said}, {_publication(choice)}" if list(words.values()).count(said) > 1 else said
        for choice, said in words.items()
    }


def legend(names: Iterable[str]) -> list[str]:
    """What explains the digits in names; nothing where there are none.

    >>> legend(["gda (published splits, publication 01234567)"])
    ['publication: first digits of `image_choice` in SQL']
    """
    listed = list(names)
    return [said for word, said in LEGEND.items() if any(_says(word, name) for name in listed)]


def _says(word: str, name: str) -> bool:
    return f"({word} " in name or f", {word} " in name


def _encoder_word(encoder: str, precisions: Mapping[str, str]) -> str:
    if len(precisions) == 1:
        return ""
    is_unique = list(precisions.values()).count(precisions[encoder]) == 1
    return precisions[encoder] if is_unique else f"encoder {encoder[:8]}"


def _state(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["source"] if "source" in row else row["dataset"], row["encoder"]


def _configuration(row: Mapping[str, Any]) -> Configuration:
    return Configuration(row["method"], row["settings_fingerprint"], row["image_choice"])


def _fits(name: str, method: str, facts: _Facts) -> bool:
    """Whether a name is the method, or its words in brackets are facts, in any order."""
    if name == method:
        return True
    if not name.startswith(f"{method} (") or not name.endswith(")"):
        return False
    rest = f"{name[len(method) + 2 : -1]}, "
    while rest:  # words may hold commas, as a prompt does
        found = next((words for words, _ in facts.values() if rest.startswith(f"{words}, ")), None)
        if not found:
            return False
        rest = rest[len(found) + 2 :]
    return True


def _telling(facts: Mapping[Configuration, _Facts]) -> dict[Configuration, set[str]]:
    """The keys of the facts to tell of each configuration of one method."""
    every = [*facts.values()]
    asked = {key for key, fact in every[0].items() if fact.is_asked and _differs(key, every)}
    keys = {each: asked | ({_IMAGES} if each.image_choice != "own" else set()) for each in facts}
    groups: dict[tuple[str, ...], list[Configuration]] = defaultdict(list)
    for each in facts:
        groups[tuple(facts[each][key].words for key in sorted(keys[each]))].append(each)
    for group in groups.values():
        _split(group, facts, keys)
    return keys


def _split(
    group: Sequence[Configuration],
    facts: Mapping[Configuration, _Facts],
    keys: dict[Configuration, set[str]],
) -> None:
    """Tell more of configurations that are equal so far, until none are."""
    of_group = [facts[each] for each in group]
    key = next((key for key in of_group[0] if _differs(key, of_group)), None)
    if len(group) == 1 or key is None:
        return
    parts: dict[str, list[Configuration]] = defaultdict(list)
    for each in group:
        keys[each].add(key)
        parts[facts[each][key].words].append(each)
    for part in parts.values():
        _split(part, facts, keys)


def _differs(key: str, facts: Sequence[_Facts]) -> bool:
    return len({each[key].words for each in facts}) > 1


def _facts_by_method(runs: Iterable[RunRecord]) -> dict[str, dict[Configuration, _Facts]]:
    """The facts of each configuration by method; those of one method have the same keys.

    They are those of one run for each number of shots, as seeds differ in what was learned.
    """
    first: dict[tuple[Configuration, int], RunRecord] = {}
    for run in runs:
        known = first.setdefault((Configuration.of(run), run.shots), run)
        if run.run_id < known.run_id:
            first[Configuration.of(run), run.shots] = run
    grouped: dict[str, dict[Configuration, list[RunRecord]]] = defaultdict(dict)
    for (configuration, _), run in first.items():
        grouped[run.method].setdefault(configuration, []).append(run)
    return {method: _facts_of_method(of_method) for method, of_method in grouped.items()}


def _facts_of_method(
    of_method: Mapping[Configuration, Sequence[RunRecord]],
) -> dict[Configuration, _Facts]:
    # Epochs, say, follow from the number of shots, and are compared where all have runs.
    common = set.intersection(*({run.shots for run in runs} for runs in of_method.values()))
    # What one configuration chooses from candidates, another may have fixed or may not have.
    chosen = {name for runs in of_method.values() for run in runs for name in run.chosen}
    values = {
        each: _values([run for run in runs if run.shots in common] or runs, chosen)
        for each, runs in of_method.items()
    }
    is_asked = {
        name: all(_is_asked(name, found.get(name, ())) for found in values.values())
        for name in dict.fromkeys(name for found in values.values() for name in found)
    }

    def settings(each: Configuration, *, asked: bool) -> _Facts:
        return {
            name: _Fact(_setting_in_words(name, values[each].get(name, ())), is_asked=asked)
            for name in is_asked
            if is_asked[name] == asked
        }

    return {
        each: {
            **settings(each, asked=True),
            **_about_classes(runs),
            **settings(each, asked=False),
            **_images(runs),
            "settings digits": _Fact(f"settings {each.settings_fingerprint[:8]}", is_asked=False),
        }
        for each, runs in of_method.items()
    }


def _values(runs: Sequence[RunRecord], chosen: Collection[str]) -> dict[str, list[Any]]:
    """The values of each setting at different shots, without settings that are chosen from candidates."""
    values: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        recorded = _recorded(run)
        for name, value in recorded.items():
            is_chosen = name in chosen or f"{name}s" in recorded
            if not is_chosen and value not in values[name]:
                values[name].append(value)
    return dict(values)


def _recorded(run: RunRecord) -> Mapping[str, Any]:
    if run.hyperparameters is not None:
        return run.hyperparameters
    return {name: value for name, value in vars(run.settings).items() if value is not None}


def _is_asked(name: str, values: Sequence[Any]) -> bool:
    return name not in _TRAINING and not any(isinstance(value, float) for value in values)


def _about_classes(runs: Sequence[RunRecord]) -> _Facts:
    """The prompts, the number of classes, and whether images of each were set aside."""
    run = runs[0]
    is_validated = any(each.n_validation for each in runs)
    validation = "validation images set aside" if is_validated else "no validation images"
    return {
        "text prompts": _Fact(_prompts(run), is_asked=False),
        "first prompt": _Fact(f'as "{run.templates[0]}"' if run.templates else "", is_asked=False),
        "number of classes": _Fact(f"{len(run.class_names)} classes", is_asked=False),
        "validation images": _Fact(validation, is_asked=False),
    }


def _images(runs: Sequence[RunRecord]) -> _Facts:
    choice = runs[0].image_choice
    return {
        _IMAGES: _Fact(image_choice_in_words(choice)),
        "publication digits": _Fact(_publication(choice), is_asked=False),
    }


def _publication(choice: str) -> str:
    return f"publication {choice.partition(':')[2][:8]}"


def _prompts(run: RunRecord) -> str:
    own = (
        f" and {len(list(filter(None, run.class_prompts)))} of classes" if run.class_prompts else ""
    )
    if len(run.templates) == 1 and not own:
        return f'prompt "{run.templates[0]}"'
    return f"{len(run.templates)} prompts{own}"


def _setting_in_words(name: str, values: Sequence[Any]) -> str:
    """A setting with the values that it has at different shots, if any.

    >>> _setting_in_words("residual_ratios", [[0.2]]), _setting_in_words("epochs", [50, 100])
    ('ratio 0.2', 'epochs 50 to 100')
    >>> _setting_in_words("alphas", [[0.1, 1.0, 3.0, 9.0]])
    '4 alphas 0.1 to 9'
    """
    words = _in_words(name)
    if not values:
        return f"{words} unset"
    value, *others = values
    if others:
        numbers = [each for each in values if isinstance(each, int | float)]
        is_range = len(numbers) == len(values)
        return f"{words} {_range(numbers) if is_range else _listed(values)}"
    if not isinstance(value, list):
        return f"{words} {_plain(value)}"
    if len(value) <= _MOST_LISTED:
        return f"{words.removesuffix('s') if len(value) == 1 else words} {_listed(value)}"
    return f"{len(value)} {words} {_range(value)}"


def _listed(values: Iterable[object]) -> str:
    return "/".join(map(_plain, values))


def _range(values: Sequence[Any]) -> str:
    return f"{_plain(min(values))} to {_plain(max(values))}"


def _in_words(name: str) -> str:
    """A setting's name as text; the residual ratio is the only ratio.

    >>> _in_words("text_residual_ratios")
    'text ratios'
    """
    return name.replace("residual_ratio", "ratio").replace("_", " ")


def _plain(value: object) -> str:
    """A value of a setting as text.

    >>> _plain("held-out-shots"), _plain(0.30000000000000004), _plain(True)
    ('held-out shots', '0.3', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value.replace("held-out-shots", "held-out shots")
    return json.dumps(value, default=str)
