"""`clip-adapter cache compact`: many small files become few large ones."""

from typing import Annotated, Any

import typer
from rich.console import Console

from clip_adapter.cli.cache.damage import Damage
from clip_adapter.cli.cache.indexed import existing_root, sizes_of_files
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.escaping import escape_control_characters
from clip_adapter.terminal import plain_console
from feature_cache import Location, StoredFolder, compact_folder, stored_folders
from feature_cache.compaction import FULL_SIZE_BYTES

MORE_THAN_A_FEW = 5
"""Below, merging costs more than it saves: two files a night are merged twice a week."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be merged.")]


def compact(root: Root = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Merge the small files of features and runs; nothing is lost if it is interrupted.

    Folders with five or more files below 128 MiB are compacted.

    Readers and writers may go on meanwhile.
    """
    place = existing_root(root)
    damage = Damage(place)
    crowded = [each for each in _crowded(place) if len(each[1]) >= MORE_THAN_A_FEW]
    rows = (
        [_row(folder, len(sizes), None) for folder, sizes in crowded]
        if dry_run
        else _compact(crowded, damage, quiet=as_json)
    )
    if as_json:
        print_json({"dry_run": dry_run, "folders": rows, "damaged": damage.rows()})
    else:
        _show(plain_console(), rows, damage, dry_run=dry_run)
    if damage.problems:
        raise typer.Exit(1)


def _crowded(root: Location) -> list[tuple[StoredFolder, list[int]]]:
    """The folders that grow file by file, with the sizes of their small files in bytes."""
    return [
        (
            folder,
            [size for size in sizes_of_files(folder) if size < FULL_SIZE_BYTES],
        )
        for folder in stored_folders(root)
        if folder.has_features or folder.path.parent == root / "runs"
    ]


def _compact(
    crowded: list[tuple[StoredFolder, list[int]]], damage: Damage, *, quiet: bool
) -> list[dict[str, Any]]:
    rows = []
    total = sum(sum(sizes) for _, sizes in crowded) / 1e6
    with watch("compacting", total=total, unit="MB", quiet=quiet) as advance:
        for folder, _ in crowded:
            merged = compact_folder(
                folder,
                at_least=MORE_THAN_A_FEW,
                on_corruption=damage.note,
                progress=lambda size_bytes: advance(size_bytes / 1e6),
            )
            if merged is not None:
                row = _row(folder, merged.n_files_before, merged.n_files_after)
                rows.append({**row, "superfluous_rows": merged.n_rows_dropped})
    return rows


def _row(folder: StoredFolder, before: int, after: int | None) -> dict[str, Any]:
    return {"folder": str(folder.path), "files_before": before, "files_after": after}


def _show(console: Console, rows: list[dict[str, Any]], damage: Damage, *, dry_run: bool) -> None:
    for row in rows:
        became = "would be merged" if dry_run else f"-> {row['files_after']:,}"
        place = row["folder"].removeprefix(f"{damage.root}/")
        console.print(
            f"{row['files_before']:>6,} files {became}  {escape_control_characters(place)}",
            soft_wrap=True,
        )
    damage.show(console)
    console.print(_summary(rows, dry_run=dry_run), soft_wrap=True)


def _summary(rows: list[dict[str, Any]], *, dry_run: bool) -> str:
    if not rows:
        return f"nothing to merge: no folder holds {MORE_THAN_A_FEW} small files"
    before = sum(row["files_before"] for row in rows)
    folders = "1 folder" if len(rows) == 1 else f"{len(rows)} folders"
    if dry_run:
        return f"{before:,} files of {folders} would be merged; nothing was changed"
    after = sum(row["files_after"] for row in rows)
    return f"{before:,} files of {folders} are {after:,} now"
