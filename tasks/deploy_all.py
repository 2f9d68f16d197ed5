"""Deploys everything in prefect.yaml, and keeps paused what a user or a regression has paused.

Run as `python -m tasks.deploy_all` from the checkout; `prefect deploy` alone resumes what is paused.
"""

import runpy
import signal
import sys
from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client

COMMAND = ("prefect", "--no-prompt", "deploy", "--all")
PAGE = 200
TERMINATED = 143


def main() -> None:
    """Run `prefect deploy` and exit with its code; on SIGTERM, pause the deployments again first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    with get_client(sync_client=True) as client:
        paused = _paused(client)
        try:
            _run_prefect(COMMAND)
        finally:
            for deployment in paused:
                client.pause_deployment(deployment)


def _paused(client: SyncPrefectClient) -> list[UUID]:
    found: list[UUID] = []
    offset = 0
    while page := client.read_deployments(limit=PAGE, offset=offset):
        found += [deployment.id for deployment in page if deployment.paused]
        offset += PAGE
    return found


def _run_prefect(command: Sequence[str]) -> None:
    """Run Prefect in this process, so that a signal ends both."""
    sys.argv = list(command)
    try:
        runpy.run_module("prefect", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    main()
