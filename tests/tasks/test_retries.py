"""What may be gone in a minute is tried again; what is wrong with the data never is."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from clip_adapter.datasets import DatasetError
from clip_adapter.errors import EncoderError, NoNetworkError
from clip_adapter.images import ImageError
from clip_adapter.pipeline.encode import encode_dataset, encode_images
from clip_adapter.pipeline.extract import record_extraction
from clip_adapter.pipeline.fit_runs import train_methods
from clip_adapter.pipeline.index import index_dataset
from clip_adapter.pipeline.maintain import collect_garbage, compact_store, verify_store
from clip_adapter.pipeline.promote import decide_promotion
from feature_cache import CorruptFileError, ObjectStoreError
from tasks.executor import RETRIES, as_task, is_transient, when_transient


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ESTALE, "Stale file handle"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError("no answer"),
        ObjectStoreError("no answer"),
        caused(DatasetError("photos cannot be read"), OSError(errno.ESTALE, "Stale file handle")),
    ],
)
def test_storage_that_did_not_answer_is_worth_another_try(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ENOSPC, "No space left on device"),
        ImageError("river/1.jpg is not the file that was indexed"),
        CorruptFileError(Path("a.parquet"), "it is cut short"),
        DatasetError("there is no folder"),
        NoNetworkError(
            "its weights are not on this machine and https://huggingface.co does not answer"
        ),
        caused(EncoderError("it could not be loaded"), NoNetworkError("https://huggingface.co")),
        caused(NoNetworkError("https://huggingface.co"), TimeoutError("no answer")),
        ValueError("shots"),
    ],
)
def test_what_is_the_same_the_next_time_is_not(error: Exception) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    "step",
    [index_dataset, encode_dataset, encode_images, verify_store, compact_store, collect_garbage],
)
def test_every_task_that_reads_storage_tries_again(step: Any) -> None:
    task = as_task(step)
    assert (task.retries, task.retry_condition_fn) == (RETRIES, when_transient)
    assert task.name == step.__name__.replace("_", "-")


@pytest.mark.parametrize("step", [train_methods, decide_promotion, record_extraction])
def test_a_step_that_has_its_input_is_not_tried_again(step: Any) -> None:
    assert as_task(step).retries == 0


@pytest.fixture(name="tries_of")
def _tries_of(prefect_server: None) -> Callable[[Exception], int]:  # noqa: ARG001
    """How often Prefect runs a task that fails once with an error."""

    def tries_of(error: Exception) -> int:
        tries = []

        @task(retries=RETRIES, retry_delay_seconds=0, retry_condition_fn=when_transient)
        def read() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise error

        @flow
        def reads() -> None:
            read()

        reads(return_state=True)
        return len(tries)

    return tries_of


def test_prefect_runs_a_task_again_after_a_passing_error(
    tries_of: Callable[[Exception], int],
) -> None:
    assert tries_of(OSError(errno.ESTALE, "Stale file handle")) == 2


def test_prefect_does_not_run_a_task_again_after_a_lasting_error(
    tries_of: Callable[[Exception], int],
) -> None:
    assert tries_of(DatasetError("there is no folder")) == 1
