"""`clip-adapter cache verify`: check that every file is unchanged since it was written."""

import time
from typing import Annotated, Any

import typer

from clip_adapter.cli.cache.damage import Damage
from clip_adapter.cli.cache.indexed import existing_root, sizes_of_classifiers, sizes_of_files
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json, watch
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs import RUN_TABLES, PromotionStore
from clip_adapter.terminal import plain_console
from feature_cache import (
    Finding,
    Location,
    NewerFormatError,
    WrongSchemaError,
    inspect_store,
    quarantine_file,
    stored_folders,
)

Deep = Annotated[
    bool, typer.Option("--deep", help="Read every byte; else the end of each file only.")
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair", help="Set damaged files aside: the next run makes again just what they held."
    ),
]


def verify(
    root: Root = None, deep: Deep = False, repair: Repair = False, as_json: Json = False
) -> None:
    """Check the files and name those that are damaged, with the reason and what to do.

    A champion whose classifier is gone is named as well, as in a store that was copied while it was written.

    Features, dataset indexes, runs and promoted classifiers are checked.

    A file in a newer format is never set aside.
    """
    place = existing_root(root)
    start = time.perf_counter()
    findings = _inspect(place, deep=deep, quiet=as_json)
    damage = Damage(place, {each.path: each.problem for each in findings if each.problem})
    mended = _repair(damage) if repair else set()
    missing = _missing(place, damage)
    summary = {
        "root": str(place),
        "deep": deep,
        "files": len(findings),
        "bytes": sum(each.size_bytes for each in findings),
        "seconds": round(time.perf_counter() - start, 3),
        "damaged": [{**row, "set_aside": row["path"] in mended} for row in damage.rows()],
        "missing": missing,
    }
    if as_json:
        print_json(summary)
    else:
        console = plain_console()
        damage.show(console, repaired=repair)
        for row in missing:
            lines = [row["path"], f"  {row['reason']}", f"  {row['advice']}"]
            console.print("\n".join(map(escape_control_characters, lines)), soft_wrap=True)
        console.print(_conclusion(summary, repair=repair), soft_wrap=True)
    if len(damage.problems) > len(mended) or missing:
        raise typer.Exit(1)


def _inspect(root: Location, *, deep: bool, quiet: bool) -> list[Finding]:
    sizes = [size for folder in stored_folders(root) for size in sizes_of_files(folder)]
    sizes += sizes_of_classifiers(root)
    total, unit = (sum(sizes) / 1e6, "MB") if deep else (len(sizes), "files")
    findings = []
    with watch("verifying", total=total, unit=unit, quiet=quiet) as advance:
        for finding in inspect_store(root, deep=deep, schemas=RUN_TABLES):
            findings.append(finding)
            advance(finding.size_bytes / 1e6 if deep else 1)
    return findings


def _missing(root: Location, damage: Damage) -> list[dict[str, str]]:
    """The champions whose classifier is gone; none where damaged decisions keep it from being known."""
    store = PromotionStore(root)
    if any(f"{store.folder}/" in f"{path}" for path in damage.problems):
        return []
    return [
        {
            "path": str(store.path_of(record)),
            "reason": f"it is gone, and promotion {record.promotion[:8]} of {record.dataset} names it",
            "advice": "copy it again from where this store came from; else the champion before it, if there was one, is current",
        }
        for record in store.missing_champions()
    ]


def _repair(damage: Damage) -> set[str]:
    """Set damaged files aside and return their paths.

    Files of a newer format stay, and files whose schema differs from that of the files beside them,
    since it is unknown which of them is wrong.
    """
    certain = {
        path: error
        for path, error in damage.problems.items()
        if not isinstance(error, NewerFormatError | WrongSchemaError)
    }
    for path, error in certain.items():
        quarantine_file(path, error)
    return {str(path) for path in certain}


def _conclusion(summary: dict[str, Any], *, repair: bool) -> str:
    n_files, n_damaged = summary["files"], len(summary["damaged"])
    n_aside = sum(row["set_aside"] for row in summary["damaged"])
    files = "1 file" if n_files == 1 else f"{n_files:,} files"
    size = f"{summary['bytes'] / 1e6:,.1f} MB"
    if not n_files:
        return f"no files in {escape_control_characters(summary['root'])} yet"
    if n_damaged and not repair:
        return f"{n_damaged:,} of {files} cannot be trusted"
    if n_damaged:
        rest = f"; {n_damaged - n_aside} stay, see above" if n_damaged > n_aside else ""
        return (
            f"{n_aside:,} of {files} set aside{rest}; "
            "`clip-adapter cache gc` removes what was set aside"
        )
    if summary["deep"]:
        return f"every byte of {files} ({size}) is sound; read in {summary['seconds']:.1f} s"
    verb = "is" if n_files == 1 else "are"
    return f"the ends of {files} ({size}) {verb} sound; --deep reads every byte"
