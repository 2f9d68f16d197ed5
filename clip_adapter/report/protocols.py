"""Tables of the field's other protocols: base to new classes, and other datasets to test on."""

from collections.abc import Mapping, Sequence
from typing import Any

from clip_adapter.report.numbers import Mean, percent
from clip_adapter.report.tables import Table
from clip_adapter.shots import shots_in_words

PROTOCOLS = {"domain-shift": "domain shift", "cross-dataset": "cross-dataset"}
"""Protocols of a test on another dataset as tables show them."""


def base_to_new_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each method and number of shots: both halves, and their harmonic mean.

    Args:
        rows: rows of the view `base_to_new_means` with a `name`, of one dataset and encoder.
    """
    return Table(
        header=("method", "shots", "base", "new", "harmonic mean"),
        rows=tuple(
            (
                row["name"],
                shots_in_words(row["shots"]),
                *(_percent(row, score) for score in ("base", "new", "harmonic_mean")),
            )
            for row in rows
        ),
        n_words=2,
    )


def shift_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each target dataset, method and number of shots: accuracy on source and target.

    Args:
        rows: rows of the view `shift_means` with a `name`, of one source and encoder.
    """
    return Table(
        header=("target", "protocol", "method", "shots", "on source", "on target"),
        rows=tuple(
            (
                row["target"],
                PROTOCOLS[row["protocol"]],
                row["name"],
                shots_in_words(row["shots"]),
                *(_percent(row, f"accuracy_{of}") for of in ("source", "target")),
            )
            for row in rows
        ),
        n_words=4,
    )


def _percent(row: Mapping[str, Any], name: str) -> str:
    """A mean over seeds in percent; empty where the row has none."""
    value, half_width = row[f"{name}_mean"], row[f"{name}_ci95"]
    same_images = row["draws"] == 1 < row["seeds"]
    return "" if value is None else percent(Mean(value, half_width, same_images=same_images))
