"""What the commands that run a flow check and pass on alike."""

import os
from pathlib import Path
from typing import Any

from clip_adapter.cli import imported
from clip_adapter.datasets import IMPORTED, check_dataset
from clip_adapter.network import Probe
from clip_adapter.settings import Settings

__all__ = ["check_request", "folders", "names_of_methods"]

HUB = "https://huggingface.co"


def check_request(
    dataset: str, model: str | None, places: Settings, images: Path | None, **asked: Any
) -> None:
    """Raise for what can be found wrong with a request before a server is started for it."""
    if dataset.startswith(IMPORTED):
        imported.find_by_name(places.location, dataset)
        model = None
    else:
        check_dataset(dataset, data=places.data_folder, images=images)
        model = model or "glyphs"
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    probe = Probe(hub) if model and ":" in model and not model.startswith("local-dir:") else None
    # torch takes seconds to import: only for those who are about to use it, and meanwhile the
    # hub has time to answer.
    from clip_adapter.cli import checks  # noqa: PLC0415

    if model:
        checks.check_model(model, probe=probe)
    if asked:
        checks.check_methods(asked["methods"], asked["settings"])


def folders(places: Settings, images: Path | None) -> dict[str, str | None]:
    """Where a flow finds and puts things."""
    return {
        "root": places.url,
        "data": str(places.data_folder),
        "images": None if images is None else str(images),
    }


def names_of_methods(text: str, dataset: str) -> list[str]:
    """Names between commas; "all" is every method that a dataset can be given to."""
    if text != "all":
        return [name.strip() for name in text.split(",")]
    from clip_adapter.methods import METHODS  # noqa: PLC0415  # imports torch

    has_tower = not dataset.startswith(IMPORTED)
    return [name for name, each in METHODS.items() if has_tower or not each.needs_text_tower]
