"""A limit of threads lasts from its first caller to its last."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from clip_adapter.training.thread_limit import ThreadLimit, one_blas_thread


def noting(events: list[str]) -> ThreadLimit:
    def limit() -> Callable[[], None]:
        events.append("set")
        return lambda: events.append("restored")

    return ThreadLimit(limit)


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_of_callers_that_overlap_the_first_sets_and_the_last_restores() -> None:
    events: list[str] = []
    limit = noting(events)
    first, second = limit.active(), limit.active()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert events == ["set"]
    second.__exit__(None, None, None)
    assert events == ["set", "restored"]


def test_an_error_inside_restores_what_was_before_and_the_limit_can_be_set_again() -> None:
    events: list[str] = []
    limit = noting(events)
    for _ in range(2):
        with pytest.raises(ArithmeticError), limit.active():
            raise ArithmeticError
    assert events == ["set", "restored"] * 2


def test_blas_has_one_thread_inside_and_its_own_number_outside() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        with one_blas_thread.active():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_the_blas_of_scipy_is_limited_though_nothing_loaded_it_before() -> None:
    program = (
        "from threadpoolctl import threadpool_info\n"
        "from clip_adapter.training.thread_limit import one_blas_thread\n"
        "with one_blas_thread.active():\n"
        "    import scipy.linalg\n"
        "    print({each['num_threads'] for each in threadpool_info() if each['user_api'] == 'blas'})\n"
    )
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    environment |= {"OPENBLAS_NUM_THREADS": "2"}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["{1}"]
