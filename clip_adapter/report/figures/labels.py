"""Where labels stand that would overlap."""

from collections.abc import Sequence


def spread(
    centres: Sequence[float], heights: Sequence[float], *, low: float, high: float
) -> list[float]:
    """Positions closest to `centres`, in squares, at which labels do not overlap.

    Args:
        centres: where each label should be, in pixels.
        heights: height of each label.
        low: upper end of the column of labels.
        high: lower end; labels overhang it where all together are higher than the column.

    >>> spread([10, 11], [4, 4], low=0, high=100)
    [8.5, 12.5]
    """
    order = sorted(range(len(centres)), key=lambda place: (centres[place], place))
    stacked, total = {}, 0.0
    for place in order:
        stacked[place] = total + heights[place] / 2
        total += heights[place]
    # Labels do not overlap where the shift against the stack does not decrease: isotonic
    # regression, by pooling neighbours that are in the wrong order.
    pools: list[tuple[float, int]] = []
    for place in order:
        mean, count = centres[place] - stacked[place], 1
        while pools and pools[-1][0] > mean:
            before, n_before = pools.pop()
            mean = (mean * count + before * n_before) / (count + n_before)
            count += n_before
        pools.append((mean, count))
    shifts = [shift for shift, count in pools for _ in range(count)]
    most = max(low, high - total)
    found = {
        place: min(max(shift, low), most) + stacked[place]
        for place, shift in zip(order, shifts, strict=True)
    }
    return [found[place] for place in range(len(centres))]


def place_labels(
    centres: Sequence[float],
    heights: Sequence[float],
    *,
    n_required: int,
    low: float,
    high: float,
) -> list[float | None]:
    """Positions of labels without overlap; None for those that do not fit near their place.

    Args:
        centres: where each label should be, in pixels, the most important first.
        heights: height of each label.
        n_required: number of labels, the first ones, that are placed in any case.
        low: upper end of the column of labels.
        high: lower end.
    """
    kept = list(range(n_required))
    found = _spread_of(kept, centres, heights, low=low, high=high)
    # A label that may be left out does not push away one that may not.
    room = {place: abs(found[place] - centres[place]) + 0.6 * heights[place] for place in kept}
    for place in range(n_required, len(centres)):
        tried = [*kept, place]
        positions = _spread_of(tried, centres, heights, low=low, high=high)
        fits = all(
            abs(positions[each] - centres[each]) <= room.get(each, 1.5 * heights[each])
            for each in tried
        )
        if fits and sum(heights[each] for each in tried) <= high - low:
            kept, found = tried, positions
    return [found.get(place) for place in range(len(centres))]


def _spread_of(
    places: Sequence[int],
    centres: Sequence[float],
    heights: Sequence[float],
    *,
    low: float,
    high: float,
) -> dict[int, float]:
    of_places = [centres[each] for each in places], [heights[each] for each in places]
    return dict(zip(places, spread(*of_places, low=low, high=high), strict=True))
