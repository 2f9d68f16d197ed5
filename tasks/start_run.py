"""Starts the flow run that a worker has taken, and starts it again if the server went away before it began.

Run as `python -m tasks.start_run` in place of `python -m prefect.engine`, which fails at the first request that
nobody answers: a client of Prefect repeats requests only after one was answered. `prefect.yaml` names it as the
command of every deployment.
"""

import http.client
import json
import os
import runpy
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress

PATIENCE_SECONDS = 480.0
"""How long a server may be away, as long as a run that has begun outlives it."""
POLL_SECONDS = 1.0
ANSWER_SECONDS = 10.0


def main() -> None:
    """Run Prefect's engine in this process; if it failed for want of a server, wait and start over."""
    with suppress(PermissionError):  # it leads a group already, started by hand or again
        os.setsid()  # a signal to the worker's group, which would end the run, is none to the run
    environment = dict(os.environ)  # the engine takes variables away
    try:
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code and is_to_be_started_again(environment):
            sys.stderr.write("the server was away while the run started: it is started again\n")
            sys.stderr.flush()
            os.execve(  # noqa: S606  # a process without a trace of the first try, and with its id
                sys.executable, [sys.executable, "-m", "tasks.start_run"], environment
            )
        raise


def is_to_be_started_again(environment: Mapping[str, str]) -> bool:
    """Whether the server is away now, comes back, and knows the run as one that has not begun.

    Where the server answers at once, something else is wrong, which would be wrong again.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    was_away = False
    while time.monotonic() < deadline:
        try:
            state = _state(environment)
        except (OSError, http.client.HTTPException, ValueError):
            was_away = True
            time.sleep(POLL_SECONDS)
        else:
            return was_away and state == "PENDING"
    return False


def _state(environment: Mapping[str, str]) -> str | None:
    """The type of the run's state; None where the server knows no such run."""
    address = environment.get("PREFECT_API_URL", "").rstrip("/")
    request = urllib.request.Request(  # noqa: S310  # Prefect's own setting
        f"{address}/flow_runs/{environment.get('PREFECT__FLOW_RUN_ID', '')}"
    )
    if login := environment.get("PREFECT_API_AUTH_STRING"):
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    if key := environment.get("PREFECT_API_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  # see above
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code >= http.client.INTERNAL_SERVER_ERROR:
            raise
        return None
    state: str | None = found.get("state_type") if isinstance(found, dict) else None
    return state


if __name__ == "__main__":
    main()
