"""Runs a request as a flow of the checkout, on the server of PREFECT_API_URL or a private one."""

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clip_adapter.errors import UnavailableError
from clip_adapter.pipeline.requests import Request
from clip_adapter.proxies import explain_proxies, unusable_proxies
from clip_adapter.settings import Settings, check_writable
from clip_adapter.terminal import plain_console
from service.database import check_home, keep_damaged_aside
from service.environment import hide_proxies, no_proxy_env
from service.folder import HOST


def run_as_flow(flow: str, request: Request) -> Any:
    """Call a flow with the parameters of a request and return its result.

    Prefect keeps its own records below the root, logs nothing to the terminal, and starts a private
    server for the time of the call, unless PREFECT_API_URL names one.

    Args:
        flow: name of the flow's function and of its module in `flows`.
        request: the parameters.

    Raises:
        UnavailableError: Prefect is not installed, or its server does not answer or has a proxy between
            that cannot be used.
    """
    if find_spec("prefect") is None:
        raise UnavailableError(
            "--prefect runs a flow, and Prefect is not installed: pip install -e '.[pipeline]'"
        )
    settings = Settings.of(root=request.root)
    check_database_path(settings.workspace)
    _configure_prefect(settings.workspace)
    if not os.environ.get("PREFECT_API_URL"):
        _check_private_database(Path(os.environ["PREFECT_HOME"]))
    function = getattr(import_module(f"flows.{flow}"), flow)
    # Resolved here: a flow on another machine would resolve a relative path differently.
    try:
        return function(**{**request.model_dump(), "root": settings.url})
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise UnavailableError(
            f"Prefect's server at PREFECT_API_URL does not answer: {error}: "
            "`clip-adapter up`, or `unset PREFECT_API_URL` to do without one"
        ) from error
    except Exception as error:
        # Ctrl-C ends Prefect's private server as well, about which its client then complains.
        if not _was_interrupted(error):
            raise
        raise KeyboardInterrupt from error


def check_database_path(workspace: Path) -> None:
    """Fail at once where Prefect's server would fail for minutes.

    Raises:
        UnavailableError: Prefect cannot keep its database there.
        UnavailableError: nothing can be written there.
    """
    if any(sign in str(workspace) for sign in "?#%"):
        raise UnavailableError(
            f"Prefect cannot keep its database below {workspace}: choose a root without ?, # and %"
        )
    check_writable(workspace, below="prefect")


def _check_private_database(home: Path) -> None:
    """Make sure of the database of a private server, which would fail for minutes without a word."""
    check_home(home)
    if kept := keep_damaged_aside(home):
        plain_console(stderr=True).print(kept, soft_wrap=True)


def _configure_prefect(workspace: Path) -> None:
    """Set the variables that Prefect reads when it is imported; those of the user take precedence."""
    if unusable := unusable_proxies(os.environ):
        server = urlsplit(os.environ.get("PREFECT_API_URL") or f"http://{HOST}").hostname
        if server not in {HOST, "localhost", "::1"}:
            raise UnavailableError(
                f"Prefect's server is at {server}, and {explain_proxies(unusable)}"
            )
        os.environ.update(hide_proxies(os.environ))
        for name in unusable:
            del os.environ[name]
    os.environ.update(no_proxy_env(os.environ))  # the private server is on this machine
    ours = {
        "PREFECT_HOME": str(workspace / "prefect"),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    if not os.environ.get("PREFECT_API_URL"):
        os.environ.pop("PREFECT_API_URL", None)
        # Ctrl-C ends the private server too; do not look for it for a minute.
        ours["PREFECT_CLIENT_MAX_RETRIES"] = "1"
    for name, value in ours.items():
        os.environ.setdefault(name, value)


def _was_interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
