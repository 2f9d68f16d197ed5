"""Work in a few threads, answers in order, and never far ahead of whoever takes them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["map_ahead"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def map_ahead(
    function: Callable[[_Item], _Answer], items: Sequence[_Item], *, workers: int
) -> Iterator[_Answer]:
    """Yield `function(item)` for every item, in order; at most `2 * workers` are under way.

    The first exception ends it, with what was not begun left undone. With one worker everything
    happens in the caller's thread.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="map-ahead") as pool:
        coming: deque[Future[_Answer]] = deque(
            pool.submit(function, item) for item in islice(waiting, 2 * workers)
        )
        try:
            while coming:
                answer = coming.popleft().result()
                coming.extend(pool.submit(function, item) for item in islice(waiting, 1))
                yield answer
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
