"""The latest flow runs of a service, read from its server, and the lines that show them.

Plain HTTP, as Prefect's client takes seconds to import. No proxy is used and no redirect followed: the
password goes to this machine's port and nowhere else.
"""

import base64
import http.client
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from clip_adapter.errors import UnavailableError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.terminal import plain_console
from service.folder import HOST, ServiceFolder, StatusFile

N_LATEST, N_FAILED, FAILED_DAYS = 5, 5, 7
ANSWER_SECONDS = 5.0
FAILURES = ["FAILED", "CRASHED"]
FIRST, INDENT = "  runs      ", 12 * " "
OF_EVERY_FAILURE = "Flow run encountered an exception: "
"""Prefect's prefix to the reason, half a line long."""
LONGEST, LONGEST_STATE, NARROWEST = 4_000, 20, 20
"""Characters of a reason and of a state, and cells of a line of a reason, on however narrow a terminal."""


@dataclass(frozen=True)
class FlowRun:
    """A flow run as the server describes it; names and message are untrusted text.

    Attributes:
        id: id that `prefect flow-run logs` takes.
        name: random name that Prefect gave the run.
        deployment: `flow/deployment`, or the flow alone if it was not deployed.
        when: time of the start, else the time it was due.
        state: name of the state, as Completed, Late, Failed.
        has_failed: whether it failed or crashed.
        message: message of the state, possibly of several lines; empty if there is none.
    """

    id: str
    name: str
    deployment: str
    when: datetime
    state: str
    has_failed: bool
    message: str


def recent_runs(folder: ServiceFolder, status: StatusFile) -> list[FlowRun]:
    """The latest flow runs that were due and those that failed in the last days, latest first.

    Runs that other flow runs started are left out.

    Args:
        folder: folder of the service, which holds its password.
        status: status of the service, which names the server.

    Raises:
        UnavailableError: the server does not answer, or not with flow runs, or is another machine's.
    """
    if not status.is_here:
        raise UnavailableError(f"the service runs on {status.host}: ask there")
    try:
        login = folder.password.read_text().strip()
    except OSError as error:
        raise UnavailableError(f"{folder.password} cannot be read ({error.strerror})") from error
    try:
        address = http.client.HTTPConnection(HOST, status.port, timeout=ANSWER_SECONDS)
        with closing(address) as connection:
            return _recent(_Server(connection, login))
    except ValidationError as error:
        raise UnavailableError(f"the answer of {status.ui_url} is not understood") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise UnavailableError(f"{status.ui_url} does not answer ({reason})") from error


def run_lines(runs: Sequence[FlowRun], *, width: int) -> Iterator[str]:
    """One line a run, and below a failed one the reason and the command that shows its log.

    A run is shortened to `width`, the reason is wrapped to it and the command left as it is; control
    characters are escaped. Times are local.
    """
    if not runs:
        yield f"{FIRST}none yet"
    states = [_shortened(escape_control_characters(run.state), LONGEST_STATE) for run in runs]
    widest = max((cell_len(state) for state in states), default=0)
    for number, run in enumerate(runs):
        state = set_cell_size(states[number], widest)
        line = f"{run.when.astimezone():%Y-%m-%d %H:%M}  {state}  {escape_control_characters(run.deployment)}"
        yield _shortened((INDENT if number else FIRST) + line, width)
        if run.has_failed:
            yield from (f"{INDENT}  {each}" for each in _reason(run, width - len(INDENT) - 2))
            yield f"{INDENT}  prefect flow-run logs {run.id}"


def _reason(run: FlowRun, width: int) -> Iterator[str]:
    """The state's message as lines of at most `width` cells."""
    message = run.message.removeprefix(OF_EVERY_FAILURE).strip()
    shown = message if len(message) <= LONGEST else f"{message[:LONGEST]}…"
    text = Text(escape_control_characters(shown, keep="\n"))
    for line in (
        text.wrap(plain_console(), max(width, NARROWEST), overflow="fold") if message else ()
    ):
        yield line.plain.rstrip()


def _shortened(line: str, width: int) -> str:
    text = Text(line)
    text.truncate(width, overflow="ellipsis")
    return text.plain


class _State(BaseModel):
    message: str | None = None


class _Run(BaseModel):
    id: UUID
    name: str
    flow_id: UUID
    deployment_id: UUID | None
    start_time: AwareDatetime | None
    expected_start_time: AwareDatetime
    state_type: str | None
    state_name: str | None
    state: _State | None


class _Named(BaseModel):
    id: UUID
    name: str


_RUNS, _NAMED = TypeAdapter(list[_Run]), TypeAdapter(list[_Named])


@dataclass(frozen=True)
class _Server:
    connection: http.client.HTTPConnection
    login: str

    def ask(self, kind: str, body: dict[str, Any]) -> bytes:
        headers = {
            "Authorization": f"Basic {base64.b64encode(self.login.encode()).decode()}",
            "Content-Type": "application/json",
        }
        self.connection.request("POST", f"/api/{kind}/filter", json.dumps(body), headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"it says {answer.status} {answer.reason}")
        return content

    def runs(self, limit: int, **wanted: Any) -> list[_Run]:
        filters = {"parent_task_run_id": {"is_null_": True}, **wanted}
        body = {"sort": "START_TIME_DESC", "limit": limit, "flow_runs": filters}
        return _RUNS.validate_json(self.ask("flow_runs", body))

    def names(self, kind: str, ids: Iterable[UUID | None]) -> dict[UUID | None, str]:
        wanted = sorted({str(each) for each in ids if each})
        found = self.ask(kind, {kind: {"id": {"any_": wanted}}})
        return {each.id: each.name for each in _NAMED.validate_json(found)}


def _recent(server: _Server) -> list[FlowRun]:
    now = datetime.now(UTC)
    since = now - timedelta(days=FAILED_DAYS)
    due = {"before_": now.isoformat()}  # runs scheduled for later are left out
    latest = server.runs(N_LATEST, expected_start_time=due)
    failed = server.runs(
        N_FAILED,
        expected_start_time={**due, "after_": since.isoformat()},
        state={"type": {"any_": FAILURES}},
    )
    runs = {run.id: run for run in [*latest, *failed]}.values()
    flows = server.names("flows", [run.flow_id for run in runs])
    deployments = server.names("deployments", [run.deployment_id for run in runs])
    known = [
        _known(run, [flows.get(run.flow_id), deployments.get(run.deployment_id)]) for run in runs
    ]
    return sorted(known, key=lambda run: run.when, reverse=True)


def _known(run: _Run, names: list[str | None]) -> FlowRun:
    return FlowRun(
        id=str(run.id),
        name=run.name,
        deployment="/".join(name for name in names if name),
        when=run.start_time or run.expected_start_time,
        state=run.state_name or "",
        has_failed=run.state_type in FAILURES,
        message=(run.state and run.state.message) or "",
    )
