"""The environment in which a service and its clients run."""

import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from clip_adapter.proxies import HIDDEN_PREFIX, unusable_proxies
from service.folder import HOST, ServiceFolder

USER = "admin"
TUNING = {
    # A request is tried again after 2, 4, ... 256 seconds: a run outlives a server that is away for
    # eight minutes. A restart takes ten seconds.
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    # How long a run that is due may wait for the worker to ask.
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    # The shortest interval; automations.yaml has the number of missing heartbeats after which a run
    # counts as dead.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # `prefect deployment run --watch` shows the log, and with it why a run failed.
    "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
    # Runs that ended 90 days ago are forgotten, with their logs; runs in the store are not of this database.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * 24 * 3600),
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_COLORS": "false",
}
"""Defaults that the environment of `clip-adapter up` overrides."""
SHARED = (
    "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME", "PATH", "NO_PROXY", "no_proxy",
    "DO_NOT_TRACK",
)  # fmt: skip
"""Variables that a client of the service needs."""
WEBHOOK_URL = "CLIP_ADAPTER_WEBHOOK_URL"
OPTIONS = {"PREFECT_API_URL": "port"}
"""Name of the option that sets a variable."""


def service_environment(
    folder: ServiceFolder, port: int, *, inherited: Mapping[str, str], places: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the server, the worker and the flows.

    The server listens on loopback only, asks for a password and sends no analytics.

    Args:
        folder: folder of the service; the password is created there if it is missing.
        port: port of the server.
        inherited: environment of this process.
        places: variables like `CLIP_ADAPTER_ROOT`.
    """
    login = _login(folder.password)
    forced = {
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_HOME": str(folder.prefect_home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
    }
    # A key or a profile of another server would be sent to this one.
    kept = {name: value for name, value in inherited.items() if name not in _FOREIGN}
    return {**TUNING, **hide_proxies(kept), **forced, **no_proxy_env(inherited), **places}


_FOREIGN = {"PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_DEBUG_MODE"}


def no_proxy_env(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that exempt `HOST` from the proxy, in addition to the hosts that are exempt already.

    Clients read either spelling, the lower-case one first.
    """
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = excepted.split(",") if excepted else []
    value = ",".join(hosts if HOST in hosts else [*hosts, HOST])
    return {"NO_PROXY": value, "no_proxy": value}


def hide_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with proxies that httpx cannot use under names that no client reads.

    For such a proxy httpx raises an error even if only `HOST` is spoken to. What is downloaded does
    not go around it: `check_available` finds the variables again.
    """
    unusable = unusable_proxies(environment)
    return {
        f"{HIDDEN_PREFIX}{name}" if name in unusable else name: value
        for name, value in environment.items()
    }


def write_shell_file(folder: ServiceFolder, environment: Mapping[str, str]) -> None:
    """Write the file that makes a shell a client when sourced; only its user can read it.

    The URL of the webhook is left out: no client needs it.
    """
    shared = [name for name in environment if name in SHARED or _is_shown(name)]
    lines = [f"export {name}={shlex.quote(environment[name])}" for name in sorted(shared)]
    _write_secret(folder.shell_file, "\n".join(lines) + "\n")


def changed_names(folder: ServiceFolder, environment: Mapping[str, str]) -> list[str]:
    """Variables and options in which `environment` differs from that of the running service."""
    words = shlex.split(folder.shell_file.read_text())
    there = dict(word.split("=", 1) for word in words if word != "export")
    ours = [name for name in {*there, *environment} if name in OPTIONS or _is_shown(name)]
    changed = sorted(name for name in ours if there.get(name) != environment.get(name))
    return [OPTIONS.get(name, name) for name in changed]


def _is_shown(name: str) -> bool:
    """Whether a variable is a setting of this program, and no secret."""
    return name.startswith("CLIP_ADAPTER_") and name != WEBHOOK_URL


def _login(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        login = f"{USER}:{secrets.token_urlsafe(24)}"
        _write_secret(path, login + "\n")
        return login


def _write_secret(path: Path, text: str) -> None:
    """Write atomically a file that only its user can ever read."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
