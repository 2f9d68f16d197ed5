"""A person who asks how the service is learns what became of runs."""

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect_in_name import DEPLOYMENT, PrefectInName
from rich.cells import cell_len

from clip_adapter.file_lock import FileLock
from service.folder import ServiceFolder, StatusFile

Command = Callable[..., Any]
PREFIX = "Flow run encountered an exception: "


@pytest.fixture(name="status")
def _status(
    command: Command, root: Path, prefect_in_name: PrefectInName, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """`clip-adapter status` at 80 columns, of a service that is up in name."""
    monkeypatch.setenv("COLUMNS", "80")
    folder = ServiceFolder(root / "prefect")
    folder.make()
    folder.password.write_text("admin:hunter2\n")
    note = StatusFile(os.getpid(), prefect_in_name.port, "up").text()
    locks = [FileLock.acquire(folder.supervisor_lock), FileLock.acquire(folder.lock, note)]
    yield lambda *arguments: command("status", "--root", root, *arguments)
    for each in locks:
        assert each is not None
        each.release()


def about_runs(text: str) -> list[str]:
    """The lines about runs, each time as WHEN."""
    lines = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN", text).splitlines()
    return lines[next(n for n, line in enumerate(lines) if line.startswith("  runs")) :]


def test_runs_are_listed_and_a_failed_one_with_its_reason_and_its_log(
    status: Command, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.add("UpToDate", hours=1)
    failed = prefect_in_name.add("Failed", kind="FAILED", hours=2, message=f"{PREFIX}no\nroom")
    prefect_in_name.add("Late", kind="SCHEDULED", hours=3)
    outcome = status()
    assert outcome.code == 0
    assert about_runs(outcome.out) == [
        "  runs      WHEN  UpToDate  train-adapters/digits",
        "            WHEN  Failed    train-adapters/digits",
        "              no",
        "              room",
        f"              prefect flow-run logs {failed}",
        "            WHEN  Late      train-adapters/digits",
    ]


def test_a_failed_run_without_a_reason_has_its_log(
    status: Command, prefect_in_name: PrefectInName
) -> None:
    failed = prefect_in_name.add("Crashed", kind="CRASHED")
    assert about_runs(status().out)[1:] == [f"              prefect flow-run logs {failed}"]


def test_where_nothing_has_run_that_is_said(status: Command) -> None:
    assert about_runs(status().out) == ["  runs      none yet"]


@pytest.mark.parametrize("reason", ["x" * 300, "漢" * 300, "there is no room " * 20])
def test_a_long_reason_is_whole_on_lines_of_the_terminal(
    status: Command, prefect_in_name: PrefectInName, reason: str
) -> None:
    failed = prefect_in_name.add("Failed", kind="FAILED", message=reason)
    _, *told, log = about_runs(status().out)
    assert max(map(cell_len, told)) <= 80
    assert "".join("".join(told).split()) == "".join(reason.split())
    assert log.endswith(failed)


def test_a_reason_without_end_is_cut(status: Command, prefect_in_name: PrefectInName) -> None:
    prefect_in_name.add("Failed", kind="FAILED", message="no room " * 50_000)
    _, *told, _ = about_runs(status().out)
    assert len(told) < 100
    assert told[-1].endswith("…")


def test_text_from_anybody_is_shown_as_it_is(
    status: Command, prefect_in_name: PrefectInName
) -> None:
    prefect_in_name.names[DEPLOYMENT] = "a\x1b]0;x\x07\u202eb"
    prefect_in_name.add("[red]Bad\n", kind="FAILED", message="[bold]\x1b[2J\x9b1m[/nothing]\u2066")
    told = about_runs(status().out)
    assert told[0] == r"  runs      WHEN  [red]Bad\n  train-adapters/a\x1b]0;x\x07\u202eb"
    assert told[1] == r"              [bold]\x1b[2J\x9b1m[/nothing]\u2066"


@pytest.mark.parametrize("answer", [(500, b""), (200, b"[{}]")], ids=["refusal", "nonsense"])
def test_a_server_that_does_not_tell_is_one_line_and_no_failure(
    status: Command, prefect_in_name: PrefectInName, answer: tuple[int, bytes]
) -> None:
    prefect_in_name.answers["/api/flow_runs/filter"] = answer
    outcome = status()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("up;")
    (told,) = about_runs(outcome.out)
    assert told.startswith("  runs      not known: ")
    assert f"http://127.0.0.1:{prefect_in_name.port}" in told
    for_programs = json.loads(status("--json").out)
    assert for_programs["up"]
    assert "runs" not in for_programs  # a check that asks for them must not pass
    assert for_programs["runs_not_known"] in told


def test_programs_learn_what_became_of_runs(
    status: Command, prefect_in_name: PrefectInName
) -> None:
    failed = prefect_in_name.add("Failed", kind="FAILED", message="no\nroom")
    told = json.loads(status("--json").out)
    assert "runs_not_known" not in told
    (run,) = told["runs"]
    assert datetime.fromisoformat(run.pop("when")).tzinfo is not None
    assert run == {
        "id": failed,
        "name": "busy-bee",
        "deployment": "train-adapters/digits",
        "state": "Failed",
        "has_failed": True,
        "message": "no\nroom",
    }
