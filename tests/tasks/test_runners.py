"""Where tasks run is a setting, and one that cannot be meant is refused."""

import sys

import pytest
from prefect.task_runners import ThreadPoolTaskRunner

from clip_adapter.errors import ParameterError, UnavailableError
from tasks.executor import PrefectExecutor, choose_task_runner


def test_without_the_setting_there_are_threads_and_one_part() -> None:
    assert isinstance(choose_task_runner(), ThreadPoolTaskRunner)
    assert PrefectExecutor().parts(None) == 1


def test_local_processes_get_a_part_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_DASK", "local:3")
    assert PrefectExecutor().parts(None) == 3
    assert PrefectExecutor().parts(12) == 12


def test_a_scheduler_elsewhere_gets_as_many_parts_as_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_DASK", "tcp://10.0.0.1:8786")
    assert PrefectExecutor().parts(None) == 1
    assert PrefectExecutor().parts(8) == 8


@pytest.mark.parametrize("number", ["0", "-1", "two", ""])
def test_no_number_of_processes_is_refused(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_DASK", f"local:{number}")
    with pytest.raises(ParameterError, match="expected local:N"):
        PrefectExecutor().parts(None)


def test_a_cluster_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_DASK", "local:2")
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(UnavailableError, match=r"pip install -e '\.\[pipeline,dask\]'"):
        choose_task_runner()
