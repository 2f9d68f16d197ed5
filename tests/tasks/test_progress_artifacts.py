"""Progress in Prefect's UI: what is told, and that the work never waits for it."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from tasks import reporter
from tasks.reporter import artifact_key, progress_artifact

Quick = Callable[[float], None]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "FIRST_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(reporter, "EVERY_SECONDS", 0.05)


def shown(key: str) -> list[Any]:
    with get_client(sync_client=True) as client:
        named = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return client.read_artifacts(artifact_filter=named)


@pytest.mark.usefixtures("prefect_server")
def test_it_ends_at_a_hundred_with_what_it_took() -> None:
    @flow
    def work() -> None:
        with progress_artifact("encoding *x*", total=4, unit="images", warn=pytest.fail) as advance:
            for _ in range(4):
                advance(1)
                time.sleep(0.1)

    work()
    (artifact,) = shown(artifact_key("progress", "encoding *x*"))
    assert artifact.data == 100
    assert artifact.description.startswith("encoding \\*x\\*: 4 of 4 images, ")
    assert re.search(r", done after \d+ s$", artifact.description)


@pytest.mark.usefixtures("prefect_server")
def test_work_that_fails_does_not_claim_to_be_done() -> None:
    @flow
    def work() -> None:
        with progress_artifact("failing", total=4, unit="images", warn=pytest.fail) as advance:
            advance(1)
            time.sleep(0.3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    (artifact,) = shown("progress-failing")
    assert artifact.data == 25
    assert "stopped after" in artifact.description


@pytest.mark.usefixtures("prefect_server")
def test_work_that_takes_no_time_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "FIRST_AFTER_SECONDS", 60)

    @flow
    def work() -> None:
        with progress_artifact("a blink", total=1, unit="files", warn=pytest.fail) as advance:
            advance(1)

    work()
    assert shown("progress-a-blink") == []


def test_a_server_that_refuses_costs_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(reporter, "create_progress_artifact", refuse)
    warnings: list[str] = []
    with progress_artifact("work", total=9, unit="images", warn=warnings.append) as advance:
        for _ in range(9):
            advance(1)
            time.sleep(0.03)
    assert warnings == ["the progress of work is not shown: gone"]


def test_a_server_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "LAST_UPDATE_SECONDS", 0.1)
    monkeypatch.setattr(reporter, "create_progress_artifact", lambda *_, **__: time.sleep(5))
    start = time.monotonic()
    with progress_artifact("work", total=1, unit="images", warn=pytest.fail) as advance:
        time.sleep(0.1)
        advance(1)
    # A second is ten times what it may take, and a fifth of what the server takes.
    assert time.monotonic() - start < 1
