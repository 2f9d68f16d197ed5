"""Runs that learn from base classes: the names of their metrics, and the harmonic mean."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

OPEN_VOCABULARY: Final = "open-vocabulary"
"""The study of classifiers to which new classes are added by name."""
BASE_TO_NEW: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "base_accuracy": ("test-base", "accuracy"),
        "base_accuracy_among_all": ("test-base-among-all", "accuracy"),
        "new_accuracy_among_all": ("test-new-among-all", "accuracy"),
        "new_accuracy": ("test-new", "accuracy"),
        "harmonic_mean_among_all": ("test", "harmonic_mean"),
    }
)
"""Split and name of each metric that only such runs have, by its name in a table of runs.

- `base_accuracy`: on images of base classes, told apart from base classes alone.
- `base_accuracy_among_all`: on images of base classes, when the new classes compete.
- `new_accuracy_among_all`: on images of new classes, when all classes compete.
- `new_accuracy`: on images of new classes, told apart from new classes alone.
- `harmonic_mean_among_all`: of the two among all classes (Xian et al. 2019,
  https://arxiv.org/abs/1707.00600, section 4.3.3).

The harmonic mean of `base_accuracy` and `new_accuracy` (Zhou et al. 2022, https://arxiv.org/abs/2203.05557,
table 1) is called `harmonic_mean`. It is not recorded, as it follows from these two.
"""


def harmonic_mean(one: float, other: float) -> float:
    """The harmonic mean of two fractions, 0 where one of them is 0.

    >>> round(harmonic_mean(0.9, 0.3), 3), harmonic_mean(0.0, 0.0)
    (0.45, 0.0)
    """
    return 2 * one * other / (one + other) if one + other else 0.0
