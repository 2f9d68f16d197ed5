"""`clip-adapter cache gc`: remove what nothing refers to."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from clip_adapter.cli.cache.indexed import existing_root, sizes_of_files
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.evidence import evidence_images
from clip_adapter.terminal import plain_console
from feature_cache import (
    Leftover,
    Location,
    UnreferencedRows,
    drop_unreferenced,
    find_leftovers,
    remove_leftovers,
    storage,
    stored_folders,
)

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only show what would be removed, and how much room it takes."),
]
Unreferenced = Annotated[
    bool,
    typer.Option(
        "--unreferenced", help="Also features of images that no dataset's index names; asks first."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def gc(
    root: Root = None,
    dry_run: DryRun = False,
    unreferenced: Unreferenced = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove unfinished files of killed processes and damaged files that were set aside.

    Unfinished files of the last 24 hours stay: a process may still be writing them.

    Prompts always stay.
    """
    place = existing_root(root)
    if unreferenced and not (dry_run or yes or _is_interactive(as_json=as_json)):
        raise typer.BadParameter("there is no terminal to ask in: add --yes, or --dry-run to see")
    leftovers = find_leftovers(place)
    ask_first = unreferenced and not (dry_run or yes)
    rows = _drop(place, dry_run=dry_run or ask_first, quiet=as_json) if unreferenced else []
    if ask_first:
        rows = _drop_if_wanted(place, rows)
    if not dry_run:
        remove_leftovers(leftovers)
    summary = {"dry_run": dry_run, **_counts(leftovers, rows)}
    if as_json:
        print_json(summary)
    else:
        _show(plain_console(), leftovers, summary)


def _is_interactive(*, as_json: bool) -> bool:
    return not as_json and sys.stdin.isatty()


def _drop(root: Location, *, dry_run: bool, quiet: bool) -> list[UnreferencedRows]:
    total = sum(
        size
        for folder in stored_folders(root)
        if folder.kind == "image-features"
        for size in sizes_of_files(folder)
    )
    title = "looking for unreferenced features" if dry_run else "dropping unreferenced features"
    with watch(title, total=total / 1e6, unit="MB", quiet=quiet) as advance:
        return list(
            drop_unreferenced(
                root,
                dry_run=dry_run,
                keep=evidence_images(root),
                progress=lambda size_bytes: advance(size_bytes / 1e6),
            )
        )


def _drop_if_wanted(root: Location, rows: list[UnreferencedRows]) -> list[UnreferencedRows]:
    n_rows = sum(row.n_rows for row in rows)
    if not n_rows:
        return []
    indexed = storage.list_folders(root / "datasets")
    why = "that no dataset names" if indexed else "(no dataset is indexed here)"
    question = f"Drop {n_rows:,} features of images {why}?"
    typer.confirm(question, abort=True, err=True)
    return _drop(root, dry_run=False, quiet=False)


def _counts(leftovers: list[Leftover], rows: list[UnreferencedRows]) -> dict[str, Any]:
    dropped_bytes = sum(row.size_bytes * row.n_rows // (row.n_rows + row.n_kept) for row in rows)
    return {
        "unfinished": sum(each.kind == "unfinished" for each in leftovers),
        "damaged": sum(each.kind == "damaged" for each in leftovers),
        "leftovers": [str(each.path) for each in leftovers],
        "unreferenced_features": sum(row.n_rows for row in rows),
        "bytes": sum(each.size_bytes for each in leftovers) + dropped_bytes,
    }


def _show(console: Console, leftovers: list[Leftover], summary: dict[str, Any]) -> None:
    for each in leftovers:
        console.print(f"{each.kind:<10}  {escape_control_characters(each.path)}", soft_wrap=True)
    parts = [
        f"{summary[name]:,} {word}{'s' if summary[name] > 1 else ''}"
        for name, word in (
            ("unfinished", "unfinished file"),
            ("damaged", "damaged file"),
            ("unreferenced_features", "unreferenced feature"),
        )
        if summary[name]
    ]
    verb = "would go" if summary["dry_run"] else "removed"
    done = f"{', '.join(parts)} {verb}, {summary['bytes'] / 1e6:,.1f} MB"
    console.print(done if parts else "nothing to remove", soft_wrap=True)
