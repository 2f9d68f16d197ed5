"""Tables of the field's other protocols: base to new classes, and other datasets to test on."""

from collections.abc import Mapping, Sequence
from typing import Any

from clip_adapter.report.numbers import Mean, percent
from clip_adapter.report.tables import Table
from clip_adapter.shots import shots_in_words, with_image_choice

_KINDS = {"domain-shift": "domain shift", "cross-dataset": "other classes"}


def base_to_new_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each method and number of shots: both halves, and their harmonic mean.

    Args:
        rows: rows of the view `base_to_new_means`.
    """
    return Table(
        header=("method", "shots", "base", "new", "harmonic mean"),
        rows=tuple(
            (
                _method(row),
                shots_in_words(row["shots"]),
                *(percent(_mean(row, name)) for name in ("base", "new", "harmonic_mean")),
            )
            for row in rows
        ),
    )


def shift_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each dataset, method and number of shots: accuracy on the own test split and there.

    Args:
        rows: rows of the view `shift_means`.
    """
    return Table(
        header=("tested on", "as", "method", "shots", "own test split", "there"),
        rows=tuple(
            (
                row["target"],
                _KINDS[row["protocol"]],
                _method(row),
                shots_in_words(row["shots"]),
                *(_percent(row[f"accuracy_{where}_mean"]) for where in ("source", "target")),
            )
            for row in rows
        ),
        n_words=3,
    )


def _method(row: Mapping[str, Any]) -> str:
    return with_image_choice(row["method"], row["image_choice"])


def _mean(row: Mapping[str, Any], name: str) -> Mean:
    same_images = row["draws"] == 1 < row["seeds"]
    return Mean(row[f"{name}_mean"], row[f"{name}_ci95"], same_images=same_images)


def _percent(value: float | None) -> str:
    return "" if value is None else percent(Mean(value, None))
