"""What a flow run is called, and the state in which it fails."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from clip_adapter.datasets import OWN_FOLDER, own_name
from clip_adapter.errors import ClipAdapterError
from feature_cache import FeatureCacheError

P = ParamSpec("P")
Result = TypeVar("Result")

LONGEST_NAME = 60
_NOT_SHOWN = re.compile(r"[^\w .:+-]+")
"""Characters that a name of a run does not have; `prefect deployment run --watch` reads brackets as markup."""


def run_name() -> str:
    """The name of the current flow run, as "eurosat 2026-11-30 02:00 UTC"; never raises for a parameter."""
    due = flow_run.scheduled_start_time or datetime.now(UTC)
    return " ".join([*subject(flow_run.parameters), f"{due.astimezone(UTC):%Y-%m-%d %H:%M} UTC"])


def subject(parameters: dict[str, Any]) -> list[str]:
    """Words for what a run works on: the dataset, and the study if there is one; none without a dataset.

    >>> subject({"dataset": "imagefolder:/srv/photos"}), subject({"dataset": "digits", "study": "paper"})
    (['photos'], ['digits', 'paper'])
    """
    dataset, study = parameters.get("dataset"), parameters.get("study")
    if not isinstance(dataset, str):
        return []
    words = [parameters.get("name") or _name(dataset), *([study] if study else [])]
    return [_NOT_SHOWN.sub("_", str(word))[:LONGEST_NAME] for word in words]


def _name(dataset: str) -> str:
    if dataset.startswith(OWN_FOLDER):
        return Path(dataset.removeprefix(OWN_FOLDER)).name
    try:
        return own_name(dataset) or dataset
    except ClipAdapterError:  # which the run raises, too
        return dataset


def fails_with_reason(function: Callable[P, Result]) -> Callable[P, Result | State[Any]]:
    """Decorate the function of a flow, so that the message of a failed state is the reason alone.

    Prefect would put half a line before it, and its UI shows little more than half a line. Only errors that
    say what to do are treated so; of others the traceback is logged. A caller of the flow gets the error.

    The annotation of what is returned is a string, here and in the flows: Dask sends a flow to its workers,
    and the class `State[Any]` cannot be sent.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> "Result | State[Any]":
        try:
            return function(*args, **kwargs)
        except (ClipAdapterError, FeatureCacheError) as error:
            return Failed(message=str(error), data=error)

    return called
