"""What became of runs is what the server says, and a server that says nothing is an error of ours."""

import base64
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect_in_name import PrefectInName

from clip_adapter.errors import UnavailableError
from service import flow_runs
from service.flow_runs import FlowRun, recent_runs
from service.folder import ServiceFolder, StatusFile

RUNS = "/api/flow_runs/filter"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> ServiceFolder:
    folder = ServiceFolder(tmp_path / "prefect")
    folder.make()
    folder.password.write_text("admin:hunter2\n")
    return folder


def asked(folder: ServiceFolder, port: int) -> list[FlowRun]:
    return recent_runs(folder, StatusFile(1, port, "up"))


def test_a_run_is_told_with_its_deployment_its_state_and_the_whole_message(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    id_ = prefect_in_name.add("Failed", kind="FAILED", message="no\nroom")
    (run,) = asked(folder, prefect_in_name.port)
    assert (run.id, run.name, run.deployment) == (id_, "busy-bee", "train-adapters/digits")
    assert (run.state, run.has_failed, run.message) == ("Failed", True, "no\nroom")
    assert timedelta(minutes=59) < datetime.now(UTC) - run.when < timedelta(minutes=61)


def test_the_latest_five_are_told_and_of_a_week_five_that_failed(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    for day in range(1, 11):
        prefect_in_name.add("Crashed", kind="CRASHED", hours=24 * day)
    for hour in range(1, 8):
        prefect_in_name.add("Completed", hours=hour)
    prefect_in_name.add("Scheduled", kind="SCHEDULED", hours=-5)
    found = asked(folder, prefect_in_name.port)
    assert [run.state for run in found] == ["Completed"] * 5 + ["Crashed"] * 5
    assert found == sorted(found, key=lambda run: run.when, reverse=True)


def test_what_another_run_started_is_left_out(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.add("Failed", kind="FAILED", parent_task_run_id=str(UUID(int=7)))
    own = prefect_in_name.add("Completed")
    assert [run.id for run in asked(folder, prefect_in_name.port)] == [own]


def test_what_failed_more_than_a_week_ago_is_past(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.add("Failed", kind="FAILED", hours=24 * 7 + 1)
    for hours in range(1, 6):
        prefect_in_name.add("Completed", hours=hours)
    assert {run.state for run in asked(folder, prefect_in_name.port)} == {"Completed"}


def test_what_failed_lately_is_told_once(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.add("Failed", kind="FAILED")
    assert len(asked(folder, prefect_in_name.port)) == 1


def test_a_late_run_is_there_with_the_time_at_which_it_was_due(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.add("Late", kind="SCHEDULED")
    (run,) = asked(folder, prefect_in_name.port)
    assert (run.state, run.has_failed, run.message) == ("Late", False, "")
    assert run.when < datetime.now(UTC)


def test_a_run_that_was_not_deployed_goes_by_its_flow(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.add("Completed", deployment_id=None)
    prefect_in_name.add("Completed", deployment_id=str(UUID(int=99)))  # removed meanwhile
    assert [r.deployment for r in asked(folder, prefect_in_name.port)] == ["train-adapters"] * 2


def test_the_server_is_told_the_password_of_the_folder(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    asked(folder, prefect_in_name.port)
    header = f"Basic {base64.b64encode(b'admin:hunter2').decode()}"
    assert {told for _, told, _ in prefect_in_name.asked} == {header}


def test_no_proxy_learns_the_password(
    folder: ServiceFolder, prefect_in_name: PrefectInName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert asked(folder, prefect_in_name.port) == []
    assert prefect_in_name.asked


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[", b"{}", b"[{}]", b'[{"id": 7}]', b"\xff", b"[" * 100_000],
    ids=["nothing", "html", "cut", "object", "empty", "fields", "bytes", "deep"],
)
def test_an_answer_that_is_none_is_an_error(
    folder: ServiceFolder, prefect_in_name: PrefectInName, content: bytes
) -> None:
    prefect_in_name.answers[RUNS] = (200, content)
    with pytest.raises(UnavailableError, match="is not understood"):
        asked(folder, prefect_in_name.port)


@pytest.mark.parametrize("code", [302, 401, 503])
def test_a_refusal_is_an_error_with_its_number(
    folder: ServiceFolder, prefect_in_name: PrefectInName, code: int
) -> None:
    prefect_in_name.answers[RUNS] = (code, b"")
    with pytest.raises(UnavailableError, match=str(code)):
        asked(folder, prefect_in_name.port)


def test_a_server_that_is_away_is_an_error(folder: ServiceFolder) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # nobody listens
        port = probe.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"127.0.0.1:{port} does not answer"):
            asked(folder, port)


def test_a_password_that_cannot_be_read_is_not_a_server_that_does_not_answer(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    folder.password.unlink()
    with pytest.raises(UnavailableError, match=r"password cannot be read \(No such file"):
        asked(folder, prefect_in_name.port)


def test_a_server_that_hangs_is_an_error(
    folder: ServiceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_runs, "ANSWER_SECONDS", 0.1)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(UnavailableError, match="does not answer"):
            asked(folder, mute.getsockname()[1])


def test_a_service_of_another_machine_is_not_asked(
    folder: ServiceFolder, prefect_in_name: PrefectInName
) -> None:
    with pytest.raises(UnavailableError, match="runs on elsewhere"):
        recent_runs(folder, StatusFile(1, prefect_in_name.port, "up", host="elsewhere"))
    assert prefect_in_name.asked == []
