"""Groups of adapters that train side by side, one a thread, each in its part of the cache."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from queue import SimpleQueue

import torch
from torch import Tensor

CACHE_BYTES = 12 * 2**20
"""Of one thread's group; two of them fit into the last cache of a small server."""

Report = Callable[[], None]


def groups_of(n_adapters: int, *, adapter_bytes: int, device: torch.device) -> list[slice]:
    """Equal shares of the adapters, small enough for the cache and as many as keep threads busy.

    On an accelerator all of them: it has no cache worth splitting for, and its queue is one.
    """
    if device.type != "cpu":
        return [slice(0, n_adapters)]
    threads = torch.get_num_threads()
    most = max(1, CACHE_BYTES // adapter_bytes)
    rounds = math.ceil(n_adapters / (most * threads))
    n_groups = min(n_adapters, rounds * threads)
    edges = [n_adapters * number // n_groups for number in range(n_groups + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def train_groups(
    groups: list[slice],
    train: Callable[[slice, Report], Tensor],
    *,
    progress: Callable[[int], None] | None,
) -> Tensor:
    """Train every group and put the columns of their answers side by side.

    Of several groups each runs in a thread of its own, in which torch keeps to that thread:
    handing every small operation to all threads would cost more than the operation.

    Args:
        groups: of adapters, in order.
        train: trains one; to be told the end of each epoch.
        progress: called, in the caller's thread, with the size of a group after its epoch.
    """
    tell = progress or (lambda _: None)
    if len(groups) == 1:
        return train(groups[0], lambda: tell(groups[0].stop))
    threads = torch.get_num_threads()
    with _limit.active():
        return torch.cat(_in_threads(groups, train, tell, threads=threads), dim=1)


def _in_threads(
    groups: list[slice],
    train: Callable[[slice, Report], Tensor],
    tell: Callable[[int], None],
    *,
    threads: int,
) -> list[Tensor]:
    told: SimpleQueue[int] = SimpleQueue()
    stopped = threading.Event()

    def report(adapters: int) -> None:
        told.put(adapters)
        if stopped.is_set():
            raise CancelledError

    def run(group: slice) -> Tensor:
        try:
            return train(group, lambda: report(group.stop - group.start))
        finally:
            told.put(0)  # done

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run, group) for group in groups]
        try:
            _pass_on(told, tell, until=len(groups))
        finally:
            stopped.set()
        return [group.result() for group in running]


def _pass_on(told: "SimpleQueue[int]", tell: Callable[[int], None], *, until: int) -> None:
    """Tell what is told until so many groups are done."""
    done = 0
    while done < until:
        adapters = told.get()
        if adapters:
            tell(adapters)
        else:
            done += 1


class _ThreadLimit:
    """Takes torch's threads away as long as anybody wants it so, and gives them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._threads = 1

    @contextmanager
    def active(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._threads = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    torch.set_num_threads(self._threads)


_limit = _ThreadLimit()
