"""Training crops follow the published recipes and nothing but the digest and the number."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from clip_adapter.errors import UnknownNameError
from clip_adapter.images import Augmentation, ImageError, augmented_views
from clip_adapter.images.views import MAX_VIEWS, Crop, draw_crop

DIGEST = hashlib.sha256(b"a picture").digest()
LARGE = (4_000, 5_000)
AREAS: list[tuple[Augmentation, float]] = [("tip-adapter", 0.5), ("coop", 0.08)]
sides = st.integers(1, 3_000)


def crops(views: Iterable[int], *, size: tuple[int, int] = LARGE) -> list[Crop]:
    return [draw_crop(size, image_sha256=DIGEST, view=view) for view in views]


def test_the_number_tells_the_augmentation() -> None:
    assert augmented_views(3) == range(1, 4)
    assert augmented_views(MAX_VIEWS, "tip-adapter") == range(1, 10_000)
    assert augmented_views(MAX_VIEWS, "coop") == range(10_001, 20_000)
    assert list(augmented_views(0)) == []


@pytest.mark.parametrize("n", [-1, 10_000])
def test_more_views_than_there_are_numbers_are_refused(n: int) -> None:
    with pytest.raises(ImageError, match="expected 0 to 9,999"):
        augmented_views(n)


def test_an_unknown_augmentation_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tip-adapter'"):
        augmented_views(1, "tip_adapter")  # type: ignore[arg-type]


@given(height=sides, width=sides, view=st.integers(1, 9_999), coop=st.booleans())
def test_a_crop_lies_within_the_picture(height: int, width: int, view: int, coop: bool) -> None:  # noqa: FBT001
    crop = draw_crop((height, width), image_sha256=DIGEST, view=view + 10_000 * coop)
    assert 0 <= crop.top < crop.top + crop.height <= height
    assert 0 <= crop.left < crop.left + crop.width <= width


@pytest.mark.parametrize(("augmentation", "smallest"), AREAS)
def test_areas_and_ratios_stay_within_the_published_ranges(
    augmentation: Augmentation, smallest: float
) -> None:
    # 2 in 1,000: the sides are rounded to whole pixels.
    for crop in crops(augmented_views(2_000, augmentation)):
        assert smallest * 0.998 <= crop.height * crop.width / (LARGE[0] * LARGE[1]) <= 1.0
        assert 0.75 * 0.998 <= crop.width / crop.height <= 4 / 3 * 1.002


def test_areas_ratios_and_places_are_spread_evenly() -> None:
    # Crops of at most 60 % of a square fit at the first try, so nothing is drawn again.
    drawn = crops(augmented_views(4_000, "coop"), size=(5_000, 5_000))
    areas = np.array([crop.height * crop.width / 5_000**2 for crop in drawn])
    small = areas < 0.6
    ratios = np.log([crop.width / crop.height for crop in drawn])
    tops = np.array([(crop.top + 0.5) / (5_001 - crop.height) for crop in drawn])
    lefts = np.array([(crop.left + 0.5) / (5_001 - crop.width) for crop in drawn])
    widest = np.log(4 / 3)
    # The draws never change; 0.001 would reject one in a thousand even recipes.
    assert kstest(areas[small], "uniform", args=(0.08, 0.52)).pvalue > 0.001
    assert kstest(ratios[small], "uniform", args=(-widest, 2 * widest)).pvalue > 0.001
    assert kstest(tops, "uniform").pvalue > 0.001
    assert kstest(lefts, "uniform").pvalue > 0.001


@pytest.mark.parametrize("augmentation", ["tip-adapter", "coop"])
def test_about_half_are_mirrored(augmentation: Augmentation) -> None:
    flipped = np.mean([crop.flipped for crop in crops(augmented_views(4_000, augmentation))])
    assert abs(flipped - 0.5) < 0.03  # almost four standard deviations of 4,000 tosses


def test_other_views_and_other_pictures_are_other_crops() -> None:
    views = [*augmented_views(500), *augmented_views(500, "coop")]
    assert len(set(crops(views))) == len(views)
    other = hashlib.sha256(b"another picture").digest()
    assert draw_crop(LARGE, image_sha256=other, view=1) != crops([1])[0]


def test_a_view_is_the_same_in_any_order_and_however_often() -> None:
    forward = crops(range(1, 200))
    assert crops(reversed(range(1, 200))) == forward[::-1]
    assert crops([7, 7, 7]) == [forward[6]] * 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 3_000), (0, 1_494, 10, 13)),  # 4 to 3, as wide as allowed
        ((3_000, 10), (1_493, 0, 13, 10)),
    ],
)
def test_a_ribbon_shows_its_middle(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    for crop in crops(augmented_views(20), size=size):  # half a ribbon never has a ratio allowed
        assert (crop.top, crop.left, crop.height, crop.width)[2:] == expected[2:]
        assert abs(crop.top - expected[0]) + abs(crop.left - expected[1]) <= 1
