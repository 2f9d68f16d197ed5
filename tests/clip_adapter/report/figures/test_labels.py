"""Labels beside lines: close to their lines, and never one over another."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.report.figures.labels import place_labels, spread

HIGH = 400.0
labels = st.lists(
    st.tuples(st.floats(0, HIGH), st.floats(5, 30)), min_size=1, max_size=12
)  # at most 360 high, so that all fit


@given(labels)
def test_spread_labels_do_not_overlap_and_stay_in_their_column(
    wanted: list[tuple[float, float]],
) -> None:
    centres, heights = zip(*wanted, strict=True)
    found = spread(centres, heights, low=0, high=HIGH)
    boxes = sorted(
        (at - height / 2, at + height / 2) for at, height in zip(found, heights, strict=True)
    )
    # A rounding error of some 1e-13 pixels is no overlap.
    assert all(above[1] <= below[0] + 1e-6 for above, below in pairwise(boxes))
    assert boxes[0][0] >= -1e-6
    assert boxes[-1][1] <= HIGH + 1e-6


def test_labels_with_room_stand_where_they_should() -> None:
    assert spread([300, 10, 100], [20, 20, 20], low=0, high=HIGH) == [300, 10, 100]


def test_neighbours_are_pushed_apart_evenly() -> None:
    assert spread([100, 100], [20, 20], low=0, high=HIGH) == [90, 110]


@given(labels, st.integers(0, 3))
def test_required_labels_are_always_placed(
    wanted: list[tuple[float, float]], n_required: int
) -> None:
    centres, heights = zip(*wanted, strict=True)
    n = min(n_required, len(wanted))
    found = place_labels(centres, heights, n_required=n, low=0, high=HIGH)
    assert None not in found[:n]
    placed = [(at, height) for at, height in zip(found, heights, strict=True) if at is not None]
    boxes = sorted((at - height / 2, at + height / 2) for at, height in placed)
    assert all(above[1] <= below[0] + 1e-6 for above, below in pairwise(boxes))


def test_a_label_that_would_push_a_required_one_away_is_left_out() -> None:
    found = place_labels([100, 100, 100], [20, 20, 20], n_required=1, low=0, high=HIGH)
    assert found[0] is not None
    assert abs(found[0] - 100) <= 12
    assert None in found[1:]
