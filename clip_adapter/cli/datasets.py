"""The datasets command: what can be trained on."""

from rich.console import Console
from rich.table import Table

from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.datasets import DATASETS
from clip_adapter.runs import query
from clip_adapter.settings import Settings
from feature_cache import storage

__all__ = ["datasets"]

INDEXED = "SELECT dataset, count(*) AS images FROM images GROUP BY dataset, index_fingerprint"


def datasets(root: Root = None, as_json: Json = False) -> None:
    """List the datasets that are known, and those that are indexed."""
    place = Settings.of(root=root).location
    indexed = query(place, INDEXED).to_pylist() if storage.is_folder(place) else []
    if as_json:
        print_json({"known": dict(DATASETS), "indexed": indexed})
        return
    table = Table(title="datasets", title_justify="left")
    for name in ("name", "what it is", "images indexed"):
        table.add_column(name)
    counts = {row["dataset"]: f"{row['images']:,}" for row in indexed}
    for name, description in DATASETS.items():
        table.add_row(name, description, counts.pop(name, ""))
    for name, count in counts.items():
        table.add_row(name, "", count)
    Console(highlight=False).print(table)
