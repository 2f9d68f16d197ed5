"""Who can be compared: a method with its settings at some shots, and what it got right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.database import RunDatabase
from clip_adapter.runs.errors import RunStoreError

if TYPE_CHECKING:  # takes time to import, and only describes shapes
    from jaxtyping import Bool

_CONTESTANTS = """
SELECT dataset, encoder, model, method, settings_fingerprint, shots, seed, split_fingerprint, run_id
FROM current_runs
ORDER BY dataset, encoder, method, settings_fingerprint, shots, seed, run_id
"""

_ANSWERS = """
SELECT
    run_id, list(correct ORDER BY position) AS correct,
    md5(string_agg(image_sha256 || ' ' || label, ',' ORDER BY position)) AS images
FROM predictions WHERE run_id IN ({}) GROUP BY run_id
"""


def with_settings(method: str, settings_fingerprint: str) -> str:
    """The name of a method with the settings it was asked to try, METHOD@SETTINGS."""
    return f"{method}@{settings_fingerprint[:8]}"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A line of the leaderboard at one number of shots.

    Attributes:
        model: the name that a person knows the encoder by.
        shots: labelled images a class; 0 for a method that uses none.
        runs: one a seed: (seed, fingerprint of its few-shot split, run id).
    """

    dataset: str
    encoder: str
    model: str
    method: str
    settings_fingerprint: str
    shots: int
    runs: tuple[tuple[int | None, str, str], ...]

    @property
    def name(self) -> str:
        """By which `choose_contestant` finds it again, whatever other settings there are."""
        return with_settings(self.method, self.settings_fingerprint)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a run got right.

    Attributes:
        correct: one an image, in the order of the test split.
        images: digest over the images and their labels, in that order.
    """

    correct: Bool[np.ndarray, " n"]
    images: str


def read_contestants(database: RunDatabase) -> list[Contestant]:
    """Everything that counts, by dataset, encoder, method, settings and shots."""
    rows = database.query(_CONTESTANTS).to_pylist()
    return [_contestant(list(group)) for _, group in groupby(rows, key=_line)]


def read_answers(database: RunDatabase, contestants: Iterable[Contestant]) -> dict[str, Answers]:
    """What their runs got right, by run id; runs whose predictions are lost are not there."""
    run_ids = sorted({run_id for each in contestants for *_, run_id in each.runs})
    if not run_ids:
        return {}
    quoted = ", ".join("'" + run_id.replace("'", "''") + "'" for run_id in run_ids)
    table = database.query(_ANSWERS.format(quoted))
    return {
        run_id: Answers(correct=correct.values.to_numpy(zero_copy_only=False), images=images)
        for run_id, correct, images in zip(
            table["run_id"].to_pylist(), table["correct"], table["images"].to_pylist(), strict=True
        )
    }


def choose_contestant(contestants: Sequence[Contestant], name: str) -> Contestant:
    """The one of that name: a method, or where it ran with several settings METHOD@FINGERPRINT.

    Args:
        contestants: of one dataset, encoder and number of shots.
        name: a fingerprint may be cut short.

    Raises:
        UnknownNameError: there is none.
        RunStoreError: there are several.
    """
    method, _, settings = name.partition("@")
    of_method = [each for each in contestants if each.method == method]
    found = [each for each in of_method if each.settings_fingerprint.startswith(settings)]
    if not found:
        known = [each.name for each in of_method] or [each.method for each in contestants]
        raise UnknownNameError("method with runs at these shots", name, dict.fromkeys(known))
    if len(found) > 1:
        raise RunStoreError(
            f"{name!r} ran with {len(found)} different settings: name one of "
            f"{', '.join(each.name for each in found)}"
        )
    return found[0]


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("dataset", "encoder", "method", "settings_fingerprint", "shots")
    return tuple(row[name] for name in names)


def _contestant(rows: list[dict[str, Any]]) -> Contestant:
    last = rows[-1]
    return Contestant(
        dataset=last["dataset"],
        encoder=last["encoder"],
        model=last["model"],
        method=last["method"],
        settings_fingerprint=last["settings_fingerprint"],
        shots=last["shots"],
        runs=tuple((row["seed"], row["split_fingerprint"], row["run_id"]) for row in rows),
    )
