"""What can be found wrong with a request before anything is started."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_adapter.datasets import open_dataset
from clip_adapter.encoders import check_available, parse_model_name
from clip_adapter.methods import create_method

__all__ = ["check_dataset_and_model", "check_methods"]


def check_dataset_and_model(dataset: str, model: str, *, data: Path, images: Path | None) -> None:
    """Raise the error the flow would raise, before a server has been started for it."""
    check_available(parse_model_name(model))
    open_dataset(dataset, data=data, images=images)


def check_methods(methods: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise for an unknown method or setting, or a value out of range."""
    for name in {*methods, *settings}:
        create_method(name, settings.get(name))
