"""Groups of adapters side by side."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clip_adapter.training.groups import CACHE_BYTES, Report, groups_of, train_groups

CPU = torch.device("cpu")
HALVES = [slice(0, 2), slice(2, 5)]


def numbers_of(group: slice, after_epoch: Report) -> Tensor:
    after_epoch()
    return torch.arange(group.start, group.stop)[None]


@given(n_adapters=st.integers(1, 200), adapter_bytes=st.integers(1, 2 * CACHE_BYTES))
def test_every_adapter_is_in_one_group_in_order_and_no_group_exceeds_the_cache(
    n_adapters: int, adapter_bytes: int
) -> None:
    groups = groups_of(n_adapters, adapter_bytes=adapter_bytes, device=CPU)
    covered = [number for group in groups for number in range(group.start, group.stop)]
    assert covered == list(range(n_adapters))
    sizes = [group.stop - group.start for group in groups]
    assert max(sizes) == 1 or max(sizes) * adapter_bytes <= CACHE_BYTES
    assert max(sizes) - min(sizes) <= 1


def test_an_accelerator_gets_all_adapters_at_once() -> None:
    groups = groups_of(90, adapter_bytes=2**30, device=torch.device("cuda"))
    assert groups == [slice(0, 90)]


@pytest.mark.parametrize("groups", [[slice(0, 5)], HALVES], ids=["one group", "two groups"])
def test_answers_stand_in_the_order_of_the_adapters(groups: list[slice]) -> None:
    assert train_groups(groups, numbers_of, progress=None).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("groups", [[slice(0, 5)], HALVES], ids=["one group", "two groups"])
def test_progress_is_told_in_the_thread_of_the_caller(groups: list[slice]) -> None:
    reported: list[tuple[int, int]] = []
    train_groups(
        groups, numbers_of, progress=lambda size: reported.append((size, threading.get_ident()))
    )
    assert sum(size for size, _ in reported) == 5
    assert {thread for _, thread in reported} == {threading.get_ident()}


def test_an_operation_keeps_to_the_thread_of_its_group_and_torch_gets_its_threads_back() -> None:
    before, seen = torch.get_num_threads(), []

    def train(group: slice, after_epoch: Report) -> Tensor:
        seen.append(torch.get_num_threads())
        return numbers_of(group, after_epoch)

    train_groups(HALVES, train, progress=None)
    assert seen == [1, 1]
    assert torch.get_num_threads() == before


def test_what_goes_wrong_in_a_group_reaches_the_caller_and_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()

    def train(group: slice, after_epoch: Report) -> Tensor:
        if group.start:
            raise ArithmeticError("the second")
        return numbers_of(group, after_epoch)

    with pytest.raises(ArithmeticError, match="the second"):
        train_groups(HALVES, train, progress=None)
    assert torch.get_num_threads() == before


def test_a_caller_who_gives_up_waits_for_no_more_than_an_epoch() -> None:
    epochs: list[int] = []

    def train(group: slice, after_epoch: Report) -> Tensor:
        for number in range(10_000):
            epochs.append(number)
            after_epoch()
        return numbers_of(group, after_epoch)

    def give_up(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_groups(HALVES, train, progress=give_up)
    assert max(epochs) < 9_999
