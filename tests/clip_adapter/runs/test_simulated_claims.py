"""How often two methods that are equally good are told apart, in simulated results."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool, Float
from scipy.stats import binom, norm

from clip_adapter.runs import (
    Decision,
    LabelDrift,
    PairedDifference,
    adjust_p_values,
    decide,
    paired_difference,
)

Correct = Bool[np.ndarray, "s n"]

DOCUMENTED = Path(__file__).parents[3] / "docs" / "comparison.md"
MEAN_ACCURACY = 0.7
DIFFICULTY, OF_ITS_OWN = 1.5, 0.5
"""Standard deviations of how easy an image is for all methods, and for one of them in addition, where
the chance of a single training has 1."""
_SPREAD = math.sqrt(1 + DIFFICULTY**2 + OF_ITS_OWN**2)
_MEAN = float(norm.ppf(MEAN_ACCURACY)) * _SPREAD
_POINT = _SPREAD / float(norm.pdf(_MEAN / _SPREAD)) / 100
"""The shift that changes the accuracy by a point."""
IMAGES, DEVIATIONS, DRAWS = (800, 2_500, 8_100), (0, 1, 2), (3, 5, 10)
CELLS = list(product(IMAGES, DEVIATIONS, DRAWS))


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What two methods are right on.

    Attributes:
        a: what the first method is right on.
        b: what the second method is right on.
        truth: true difference in accuracy of the classifiers of each draw, in points.
    """

    a: Correct
    b: Correct
    truth: Float[np.ndarray, " s"]

    @property
    def paired(self) -> PairedDifference:
        """The difference as it is shown."""
        return paired_difference(self.a, self.b)


def simulate(
    times: int, *, n_images: int, n_draws: int, deviation: float, difference: float = 0.0
) -> Iterator[Simulated]:
    """Simulate two methods, on new images and new draws of training images each time.

    A method is right on an image if the sum of four numbers is positive: how easy the image is for
    all, how easy it is for this method at every draw, how good the draw is for this method, and the
    chance of a single training. All are normal. 70 % are right, and at one draw the methods differ on a
    quarter of the images, as few-shot methods do.

    Args:
        times: number of simulations.
        n_images: number of test images.
        n_draws: number of draws of training images, one for each seed.
        deviation: standard deviation over draws of the difference in accuracy, in points.
        difference: true difference of the methods, in points; 0 where they are equally good.
    """
    rng = np.random.default_rng([n_images, n_draws, int(10 * deviation), int(100 * difference)])
    for _ in range(times):
        easy = _easy(rng, n_images)
        shifts = rng.normal(
            (difference / 2, -difference / 2), deviation / math.sqrt(2), size=(n_draws, 2)
        )
        a, b = (_right(rng, _for_one(rng, easy), shifts[:, side]) for side in (0, 1))
        yield Simulated(a=a, b=b, truth=shifts[:, 0] - shifts[:, 1])


def _easy(rng: np.random.Generator, n_images: int) -> Float[np.ndarray, " n"]:
    """How easy images are for all methods."""
    return _MEAN + DIFFICULTY * rng.standard_normal(n_images, dtype=np.float32)


def _for_one(rng: np.random.Generator, easy: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How easy images are for one method."""
    return easy + OF_ITS_OWN * rng.standard_normal(len(easy), dtype=np.float32)


def _right(
    rng: np.random.Generator, easy: Float[np.ndarray, " n"], shifts: Float[np.ndarray, " s"]
) -> Correct:
    """What classifiers are right on that are better by some points than the method on average."""
    chance = rng.standard_normal((len(shifts), len(easy)), dtype=np.float32)
    right: Correct = chance + easy > -_POINT * shifts[:, None].astype(np.float32)
    return right


def most(times: int, level: float) -> float:
    """The rate that is exceeded one time in a thousand where the true rate is the level."""
    return float(binom.ppf(0.999, times, level)) / times


def decided(paired: PairedDifference) -> Decision:
    """The decision about a candidate on the images of a comparison."""
    return decide(
        paired,
        LabelDrift(),
        baseline="the champion",
        n_images=paired.n_images,
        max_relabelled_fraction=0.05,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n_images", "deviation", "n_draws"), CELLS)
def test_equal_methods_are_told_apart_in_one_of_twenty_cases_at_most(
    n_images: int, deviation: float, n_draws: int
) -> None:
    times = 2_000  # a true rate of 7 % is found with a probability of 76 %, one of 8 % with 99 %
    found = [
        each.paired.verdict != "no difference shown"
        for each in simulate(times, n_images=n_images, n_draws=n_draws, deviation=deviation)
    ]
    assert np.mean(found) <= most(times, 0.05)


@pytest.mark.slow
def test_images_alone_would_tell_equal_methods_apart_too_often() -> None:
    """What was said before: an interval over images, and all seeds of one sign."""
    found = []
    for each in simulate(500, n_images=8_100, n_draws=3, deviation=1):
        scores = each.a.mean(axis=0) - each.b.mean(axis=0)
        beyond = abs(scores.mean()) > 1.96 * scores.std() / math.sqrt(len(scores))
        signs = {bool(one > 0) for one in each.paired.seed_differences}
        found.append(beyond and len(signs) == 1)
    assert np.mean(found) > 0.12


@pytest.mark.slow
@pytest.mark.parametrize("n_draws", DRAWS)
def test_a_table_of_equal_methods_has_a_claim_in_one_of_twenty_cases_at_most(n_draws: int) -> None:
    times, n_comparisons = 500, 10
    drawn = simulate(times * n_comparisons, n_images=800, n_draws=n_draws, deviation=2)
    plain, corrected = [], []
    for _ in range(times):
        shown = [next(drawn).paired for _ in range(n_comparisons)]
        plain.append(any(one.p_value < 0.05 for one in shown))
        corrected.append(
            any(one.verdict != "no difference shown" for one in adjust_p_values(shown))
        )
    assert np.mean(corrected) <= most(times, 0.05)
    assert np.mean(plain) > 0.15


def documented_power() -> dict[tuple[int, int, int], float]:
    """By images, deviation and draws: the difference that is claimed in 80 % of cases."""
    found = {}
    for line in DOCUMENTED.read_text().splitlines():
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        if len(cells) == 2 + len(DRAWS) and cells[0].isdecimal():
            n_images, deviation = map(int, cells[:2])
            for n_draws, difference in zip(DRAWS, cells[2:], strict=True):
                found[n_images, deviation, n_draws] = float(difference)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("n_images", "deviation", "n_draws"), CELLS)
def test_a_documented_difference_is_claimed_in_four_of_five_cases(
    n_images: int, deviation: int, n_draws: int
) -> None:
    drawn = simulate(
        300,
        n_images=n_images,
        n_draws=n_draws,
        deviation=deviation,
        difference=documented_power()[n_images, deviation, n_draws],
    )
    power = np.mean([each.paired.verdict == "ahead" for each in drawn])
    # 0.8 with a standard error of 0.023, and the difference is rounded to a tenth of a point.
    assert power == pytest.approx(0.8, abs=0.09)


@pytest.mark.slow
@pytest.mark.parametrize(("n_images", "deviation"), list(product((30, *IMAGES), DEVIATIONS)))
def test_a_candidate_that_is_no_better_is_promoted_in_one_of_forty_cases_at_most(
    n_images: int, deviation: float
) -> None:
    """One candidate, one champion: their images vary, their training images do not."""
    times = 2_000
    promoted_wrongly, alarmed_wrongly = [], []
    for each in simulate(times, n_images=n_images, n_draws=1, deviation=deviation):
        decision = decided(each.paired)
        promoted_wrongly.append(decision.outcome == "promoted" and each.truth[0] <= 0)
        alarmed_wrongly.append(decision.is_regression and each.truth[0] >= 0)
    assert np.mean(promoted_wrongly) <= most(times, 0.025)
    assert np.mean(alarmed_wrongly) <= most(times, 0.025)


def nights(
    rng: np.random.Generator, *, n_nights: int, n_images: int, deviation: float
) -> tuple[int, float]:
    """Decide on a new candidate each night, on the same images.

    Returns:
        The number of promotions, and how much better the last champion is truly than the first, in
        points.
    """
    easy = _easy(rng, n_images)
    shifts = rng.normal(0, deviation / math.sqrt(2), size=n_nights + 1)
    champion = _right(rng, _for_one(rng, easy), shifts[:1])
    n_promoted, current = 0, 0
    for night in range(1, n_nights + 1):
        candidate = _right(rng, _for_one(rng, easy), shifts[night : night + 1])
        if decided(paired_difference(candidate, champion)).outcome == "promoted":
            n_promoted, current, champion = n_promoted + 1, night, candidate
    return n_promoted, float(shifts[current] - shifts[0])


@pytest.mark.slow
@pytest.mark.parametrize(("n_images", "deviation"), list(product((200, 800), (1, 2, 4))))
def test_thirty_nights_leave_no_worse_champion(n_images: int, deviation: float) -> None:
    rng = np.random.default_rng([n_images, int(deviation)])
    times = 200
    gained = [
        nights(rng, n_nights=30, n_images=n_images, deviation=deviation)[1] for _ in range(times)
    ]
    assert np.mean([points < -1 for points in gained]) <= most(times, 0.05)
    assert np.mean(gained) > 0
