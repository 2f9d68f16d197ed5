"""Which label means which class, where a table gives both for every row."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from feature_cache.exchange.conversions import Column
from feature_cache.exchange.errors import InvalidForeignFeaturesError


def labels_and_names(
    labels: Column | None,
    row_names: Sequence[Any] | None,
    *,
    class_names: Sequence[str] | None,
    source: str,
) -> tuple[Column, Sequence[str] | None]:
    """Labels, and the class names in their order, from the columns of a table.

    Args:
        labels: One label a row, numbers or names; None when there is no such column.
        row_names: The name of each row's class; None when there is no such column.
        class_names: What the caller says the classes are; wins over `row_names`.
        source: What the table is called.

    Raises:
        InvalidForeignFeaturesError: Neither column is there, a label has two names, or some label
            below the highest has no rows, so that its name is unknown.
    """
    if labels is None and row_names is None:
        raise InvalidForeignFeaturesError(
            source, "there is a column neither of labels nor of class names: add one, or name it"
        )
    if labels is None:
        return list(row_names or ()), class_names
    numbers = isinstance(labels, np.ndarray) and labels.dtype.kind in "iu"
    if class_names is not None or row_names is None or not numbers:
        return labels, class_names
    return labels, _names_in_order(np.asarray(labels).tolist(), row_names, source)


def _names_in_order(labels: list[int], row_names: Sequence[Any], source: str) -> list[Any]:
    known: dict[int, Any] = {}
    for label, name in zip(labels, row_names, strict=True):
        if known.setdefault(label, name) != name:
            raise InvalidForeignFeaturesError(
                source,
                f"label {label} is called {known[label]!r:.80} and {name!r:.80}: name it once",
            )
    if sorted(known) != list(range(len(known))):
        raise InvalidForeignFeaturesError(
            source,
            "some classes below the highest label have no rows, so nobody says what they are "
            "called: give class_names",
        )
    return [known[label] for label in range(len(known))]
