"""The commands up, down and status: a Prefect server and a worker in the background."""

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_adapter.cli.options import Data, Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.errors import UnavailableError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console
from feature_cache.local_fs import full_disk_explained
from service.control import State, bring_up, state_of, take_down
from service.database import check_home, damage_of, explain_damage, keep_damaged_aside
from service.environment import changed_names, service_environment
from service.flow_runs import recent_runs, run_lines
from service.folder import ServiceFolder
from service.prefect_runs import check_database_path

CHECKOUT = Path(__file__).parents[1]

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the server, on 127.0.0.1.")]


def up(root: Root = None, data: Data = None, port: Port = 4200) -> None:
    """Bring Prefect's server, a worker and all deployments up, in the background.

    The server listens on this machine alone and asks for a password. What dies is started again.
    `clip-adapter down` ends it all.
    """
    settings = Settings.of(root=root, data=data)
    folder = _folder(settings)
    check_database_path(settings.workspace)
    with full_disk_explained(folder.path, "what the service needs"):
        folder.make()
    check_home(folder.prefect_home)
    console = plain_console()
    found = state_of(folder)
    if found is None or not found.is_supervised:
        take_down(folder)  # what a supervisor that was killed left
        if kept := keep_damaged_aside(folder.prefect_home):
            console.print(kept, soft_wrap=True)
    places = {"CLIP_ADAPTER_ROOT": settings.url}
    if settings.data is not None:
        places["CLIP_ADAPTER_DATA"] = str(settings.data_folder)
    with full_disk_explained(folder.path, "what the service needs"):
        environment = service_environment(folder, port, inherited=os.environ, places=places)
    state = bring_up(
        folder,
        port,
        environment=environment,
        checkout=CHECKOUT,
        log=lambda stage: console.print(f"{stage} ..."),
    )
    console.print(_welcome(folder, state), soft_wrap=True)
    if changed := changed_names(folder, environment):
        console.print(
            f"  but       it was up already, with another {', '.join(changed)}: "
            "for yours, `clip-adapter down` and then `clip-adapter up`",
            soft_wrap=True,
        )


def down(root: Root = None) -> None:
    """End the server and the worker that `up` started, and nothing else."""
    ended = take_down(_folder(Settings.of(root=root)))
    plain_console().print("everything has ended" if ended else "nothing is up")


def status(root: Root = None, as_json: Json = False) -> None:
    """Show whether the server and the worker are up, where, and how runs ended.

    Exit code 0 if they are up, however runs ended.
    """
    folder = _folder(Settings.of(root=root))
    state = state_of(folder)
    if as_json:
        print_json(_facts(folder, state))
    else:
        console = plain_console()
        lines = _lines(folder, state, console.width)
        console.print("\n".join(lines), soft_wrap=True)
    if state is None or not state.is_up:
        raise typer.Exit(1)


def _facts(folder: ServiceFolder, state: State | None) -> dict[str, Any]:
    facts = {"up": False, "stage": _stage(state), "logs": str(folder.logs)}
    if state is not None:
        facts |= {"up": state.is_up, "pid": state.status.pid, "api_url": state.status.api_url}
    if state is not None and state.is_up:
        try:
            return facts | {"runs": [asdict(run) for run in recent_runs(folder, state.status)]}
        except UnavailableError as error:
            facts |= {"runs_not_known": str(error)}
    if damage := damage_of(folder.prefect_home):
        facts |= {"database": explain_damage(folder.prefect_home, damage)}
    return facts


def _lines(folder: ServiceFolder, state: State | None, width: int) -> list[str]:
    lines = [
        _stage(state)
        if state
        else f"{_stage(state)} for {folder.path}: `clip-adapter up` starts it"
    ]
    if state is not None and state.is_up:
        lines = [_welcome(folder, state)]
        try:
            return [*lines, *run_lines(recent_runs(folder, state.status), width=width)]
        except UnavailableError as error:
            lines.append(f"  runs      not known: {escape_control_characters(error)}")
    if damage := damage_of(folder.prefect_home):
        lines.append(explain_damage(folder.prefect_home, damage))
    return lines


def _folder(settings: Settings) -> ServiceFolder:
    return ServiceFolder(settings.workspace / "prefect")


def _stage(state: State | None) -> str:
    if state is None:
        return "nothing is up"
    if not state.is_supervised:
        return "what is left of a service still runs: `clip-adapter up` or `clip-adapter down`"
    return state.status.stage


def _welcome(folder: ServiceFolder, state: State) -> str:
    shell_file = shlex.quote(str(folder.shell_file))
    lines = [
        "up; `clip-adapter down` ends it",
        f"  UI        {state.status.ui_url}  (it asks for the line in {folder.password}: admin:PASSWORD)",
        f"  terminal  . {shell_file}",
        "            prefect deployment run train-adapters/digits --watch",
        f"  logs      {folder.logs}",
    ]
    return "\n".join(lines)
