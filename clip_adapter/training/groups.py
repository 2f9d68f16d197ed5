"""Groups of adapters that train in parallel threads, each in its part of the processor's cache."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from queue import SimpleQueue

import torch
from torch import Tensor

from clip_adapter.training.thread_limit import ThreadLimit

CACHE_BYTES = 12 * 2**20
"""Largest size of a thread's group; two groups fit into the last-level cache of a small server."""

Report = Callable[[], None]


def groups_of(n_adapters: int, *, adapter_bytes: int, device: torch.device) -> list[slice]:
    """Equal shares of the adapters, small enough for the cache and enough to keep threads busy.

    On an accelerator all adapters are one group: its kernels run in one queue.
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
    """Train every group and concatenate the columns of their results.

    Several groups run in a thread each, with torch limited to one thread: to split every small
    operation among threads would cost more than the operation.

    Args:
        groups: groups of adapters, in order.
        train: trains a group, and calls its second argument after each epoch.
        progress: called in the caller's thread with the size of a group after each of its epochs.
    """
    report_progress = progress or (lambda _: None)
    if len(groups) == 1:
        return train(groups[0], lambda: report_progress(groups[0].stop))
    threads = torch.get_num_threads()
    with _limit.active():
        return torch.cat(_in_threads(groups, train, report_progress, threads=threads), dim=1)


def _in_threads(
    groups: list[slice],
    train: Callable[[slice, Report], Tensor],
    report_progress: Callable[[int], None],
    *,
    threads: int,
) -> list[Tensor]:
    finished: SimpleQueue[int] = SimpleQueue()
    stopped = threading.Event()

    def report(adapters: int) -> None:
        finished.put(adapters)
        if stopped.is_set():
            raise CancelledError

    def run(group: slice) -> Tensor:
        try:
            return train(group, lambda: report(group.stop - group.start))
        finally:
            finished.put(0)  # the group is done

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run, group) for group in groups]
        try:
            _forward(finished, report_progress, n_groups=len(groups))
        finally:
            stopped.set()
        return [group.result() for group in running]


def _forward(
    finished: "SimpleQueue[int]", report_progress: Callable[[int], None], *, n_groups: int
) -> None:
    """Report epochs of groups in this thread until all groups are done."""
    done = 0
    while done < n_groups:
        adapters = finished.get()
        if adapters:
            report_progress(adapters)
        else:
            done += 1


def _limit_torch() -> Callable[[], None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return partial(torch.set_num_threads, threads)


_limit = ThreadLimit(_limit_torch)
