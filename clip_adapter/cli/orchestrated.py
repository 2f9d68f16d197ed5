"""Runs a request of a command: here, or as a Prefect flow where a checkout has been installed."""

from importlib import import_module
from typing import Annotated, Any

import typer

from clip_adapter.cli.extensions import prefect_runner
from clip_adapter.pipeline.requests import Request

Prefect = Annotated[
    bool,
    typer.Option(
        "--prefect",
        help="Run as a flow of Prefect: on the server of PREFECT_API_URL, else on a private one. "
        "Needs a checkout.",
    ),
]
_PLACES = {
    "extract_features": ("extract", "extract"),
    "train_adapters": ("train", "train"),
    "reproduce_paper": ("ablations", "reproduce"),
}
"""By flow, the module and the function of the pipeline that does the same."""


def run(flow: str, request: Request, *, prefect: bool) -> Any:
    """Run a request and return its result.

    Args:
        flow: name of the flow.
        request: what it is asked for.
        prefect: as a flow; else the function of the pipeline is called.

    Raises:
        MissingCommandError: flows were asked for, and there is no checkout.
    """
    if prefect:
        return prefect_runner()(flow, request)
    module, function = _PLACES[flow]
    # Imports what computes, when the options have been read.
    return getattr(import_module(f"clip_adapter.pipeline.{module}"), function)(request)
