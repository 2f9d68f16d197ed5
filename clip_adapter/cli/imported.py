"""What the commands of the flows say about features that were made elsewhere."""

from typing import Any

from rich.console import Console

from clip_adapter.cli.summaries import print_json
from clip_adapter.datasets import IMPORTED
from clip_adapter.printable import printable
from feature_cache import Location
from feature_cache.exchange import ImportedDataset, find_imported

__all__ = ["find_by_name", "say_nothing_to_encode"]


def find_by_name(root: Location, dataset: str) -> ImportedDataset:
    """The imported dataset that `features:NAME` means; raises as `find_imported`."""
    return find_imported(root, dataset.removeprefix(IMPORTED))


def say_nothing_to_encode(found: ImportedDataset, *, as_json: bool) -> None:
    """Look whether all features are there, and say that none is to be made.

    Raises:
        IncompleteImportError: Some are missing.
    """
    found.check_complete()
    summary: dict[str, Any] = {
        "dataset": found.name,
        "model": found.label,
        "encoder": found.encoder,
        "images": found.n_images,
        "encoded": 0,
        "reused": found.n_images,
        "prompts_encoded": 0,
    }
    if as_json:
        print_json(summary)
        return
    Console(highlight=False).print(
        f"nothing to encode: all {found.n_images:,} features of features:{found.name} were "
        f"imported, made by {printable(found.label)}",
        markup=False,
        soft_wrap=True,
    )
