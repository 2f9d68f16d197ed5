from collections.abc import Iterator
from threading import Lock, current_thread
from time import sleep

import pytest

from clip_adapter.datasets.index import prefetch_map


@pytest.mark.parametrize("workers", [1, 2, 5, 50])
def test_answers_come_in_the_order_of_the_items(workers: int) -> None:
    def later_is_faster(item: int) -> int:
        sleep((20 - item) / 10_000)
        return item * item

    assert list(prefetch_map(later_is_faster, range(20), workers=workers)) == [
        item * item for item in range(20)
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_to_do_gives_nothing(workers: int) -> None:
    assert list(prefetch_map(abs, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_work_is_never_far_ahead_of_its_reader(workers: int) -> None:
    begun = 0
    lock = Lock()

    def begin(item: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return item

    furthest = 0
    for taken in prefetch_map(begin, range(100), workers=workers):
        sleep(0.001)
        furthest = max(furthest, begun - taken)

    assert furthest <= 2 * workers + 1


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_arrives_and_stops_the_rest(workers: int) -> None:
    done = []

    def fail_at_three(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        done.append(item)
        return item

    with pytest.raises(ValueError, match="3"):
        list(prefetch_map(fail_at_three, range(1_000), workers=workers))

    assert len(done) < 3 + 3 * workers


def test_one_worker_is_the_caller() -> None:
    names: Iterator[str] = prefetch_map(lambda _: current_thread().name, range(3), workers=1)

    assert set(names) == {current_thread().name}
