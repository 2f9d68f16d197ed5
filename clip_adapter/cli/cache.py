"""The cache commands: what is stored, and whether it is sound."""

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.errors import ClipAdapterError
from clip_adapter.runs import MissingRootError
from clip_adapter.settings import Settings
from feature_cache import FeatureStore, Location, inspect_store, storage, stores

__all__ = ["DamagedStoreError", "app"]

app = typer.Typer(no_args_is_help=True, help="Look after the feature cache.")


class DamagedStoreError(ClipAdapterError, ValueError):
    """Files whose content is not what their name promises."""


def existing_root(root: str | None) -> Location:
    """The root, if there is one: an empty answer about a misspelt folder would be a wrong one.

    Raises:
        MissingRootError: if it is not a folder.
    """
    place = Settings.of(root=root).location
    if not storage.is_folder(place):
        raise MissingRootError(place)
    return place


@app.command()
def stats(root: Root = None, as_json: Json = False) -> None:
    """What the cache holds: encoders, images, prompts, files, bytes."""
    place = existing_root(root)
    rows = [_describe(store) for store in stores(place)]
    if as_json:
        print_json(rows)
        return
    table = Table(title=escape(f"feature cache in {place}"), title_justify="left")
    for name in ("encoder", "model", "images", "prompts", "width", "files", "MB"):
        table.add_column(name, justify="left" if name in {"encoder", "model"} else "right")
    for row in rows:
        table.add_row(
            row["encoder"][:12],
            escape(row["model"]),
            *[f"{row[name]:,}" for name in ("images", "prompts", "width", "files")],
            f"{row['bytes'] / 1e6:,.1f}",
        )
    Console(highlight=False).print(table if rows else escape(f"no features in {place} yet"))


@app.command()
def verify(root: Root = None, as_json: Json = False) -> None:
    """Read every file and compare its content with the digest in its name."""
    files = list(inspect_store(existing_root(root), deep=True))
    damaged = [str(finding.problem) for finding in files if finding.problem is not None]
    if as_json:
        print_json({"files": len(files), "damaged": damaged})
    if damaged:
        raise DamagedStoreError(f"{len(damaged)} of {len(files)} files: " + "; ".join(damaged))
    if not as_json:
        Console(highlight=False).print(f"{len(files):,} files, all sound")


def _describe(store: FeatureStore) -> dict[str, Any]:
    statistics = store.statistics()
    return {
        "encoder": store.encoder,
        "model": store.description().get("model", ""),
        "images": statistics.n_images,
        "prompts": statistics.n_prompts,
        "width": statistics.dim,
        "files": statistics.n_files,
        "bytes": statistics.size_bytes,
    }
