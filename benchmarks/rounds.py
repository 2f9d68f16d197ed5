"""Sides that take turns in short rounds, because a machine is never quiet for long."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, with the lowest and highest.

    Attributes:
        median: Half of the rounds lie below.
        low: The lowest.
        high: The highest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """As `0.95 (0.93 to 0.96)`."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"

    def rounded(self) -> dict[str, float]:
        """For a record, to four digits."""
        values = {"median": self.median, "low": self.low, "high": self.high}
        return {name: float(f"{value:.4g}") for name, value in values.items()}


def take_turns(
    sides: Mapping[str, Callable[[int], float]], *, rounds: int
) -> dict[str, list[float]]:
    """Let every side have one turn a round: A B C, A B C; values by side, round by round.

    Args:
        sides: Each takes the number of the round, from 0, and returns what it measured.
        rounds: How many turns a side.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure(number))
    return values


def ratio_of(one: Sequence[float], other: Sequence[float]) -> Spread:
    """The spread of one over the other, round by round: what slows both cancels out."""
    return Spread.of([a / b for a, b in zip(one, other, strict=True)])
