"""`clip-adapter cache stats`: what takes the room, folder by folder and encoder by encoder."""

from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from clip_adapter.cli.cache.damage import Damage
from clip_adapter.cli.cache.indexed import existing_root, sizes_of_files
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.disk_usage import Usage, disk_usage
from clip_adapter.progress import Advance
from clip_adapter.terminal import plain_console
from feature_cache import FeatureStore, stored_folders, stores


def stats(root: Root = None, as_json: Json = False) -> None:
    """Show what is stored: encoders with their images, views, prompts, files and megabytes.

    A table follows of everything below the root, and of what may be removed.

    Every file of features is read. One that is damaged is named and not counted.
    """
    place = existing_root(root)
    damage = Damage(place)
    found = [FeatureStore(place, each.encoder, on_corruption=damage.note) for each in stores(place)]
    total = sum(
        size
        for folder in stored_folders(place)
        if folder.has_features
        for size in sizes_of_files(folder)
    )
    with watch("counting", total=total / 1e6, unit="MB", quiet=as_json) as advance:
        rows = [_describe(store, advance) for store in found]
    usage = disk_usage(place)
    if as_json:
        folders = [
            {"what": each.what, "files": each.n_files, "bytes": each.size_bytes} for each in usage
        ]
        damaged = damage.rows()
        print_json({"root": str(place), "encoders": rows, "folders": folders, "damaged": damaged})
    else:
        _show(plain_console(), rows, usage, damage)
    if damage.problems:
        raise typer.Exit(1)


def _describe(store: FeatureStore, advance: Advance) -> dict[str, Any]:
    statistics = store.statistics(progress=lambda size_bytes: advance(size_bytes / 1e6))
    known = store.descriptions()
    return {
        "encoder": store.encoder,
        "models": known.get("model", []),
        "precision": known.get("precision", [""])[0],
        "width": statistics.dim,
        "images": statistics.n_images,
        "views": statistics.n_views,
        "prompts": statistics.n_prompts,
        "files": statistics.n_files,
        "bytes": statistics.size_bytes,
        "mean_file_bytes": statistics.size_bytes // max(statistics.n_files, 1),
    }


def _show(console: Console, rows: list[dict[str, Any]], usage: list[Usage], damage: Damage) -> None:
    for row in rows:
        models = (
            ", ".join(map(escape_control_characters, row["models"]))
            or "a model that was never named"
        )
        precision = escape_control_characters(row["precision"]) or "unknown precision"
        console.print(f"{row['encoder'][:12]}  {models}", style="bold")
        console.print(
            f"  {precision}, width {row['width']:,}: {row['images']:,} images, "
            f"{row['views']:,} views, {row['prompts']:,} prompts\n"
            f"  {row['files']:,} files, {row['bytes'] / 1e6:,.1f} MB, "
            f"{row['mean_file_bytes'] / 1e6:,.2f} MB a file",
        )
    if usage:
        table = Table("", box=None, pad_edge=False)
        for heading in ("files", "MB"):
            table.add_column(heading, justify="right")
        table.add_column("to free it", overflow="fold")
        for each in usage:
            size = f"{each.size_bytes / 1e6:,.1f}"
            table.add_row(each.what, f"{each.n_files:,}", size, each.how_to_free)
        console.print(table)
    damage.show(console)
    console.print(_summary(rows, damage), soft_wrap=True)


def _summary(rows: list[dict[str, Any]], damage: Damage) -> str:
    if not rows:
        return f"no features in {escape_control_characters(damage.root)} yet"
    files, size_bytes = (sum(row[name] for row in rows) for name in ("files", "bytes"))
    encoders = "1 encoder" if len(rows) == 1 else f"{len(rows)} encoders"
    text = f"{encoders}, {files:,} files, {size_bytes / 1e6:,.1f} MB in {escape_control_characters(damage.root)}"
    n_damaged = len(damage.problems)
    return text + (f"; {n_damaged} damaged and not counted" if n_damaged else "")
