"""The champion command: who reigns, since when and why."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from clip_adapter.cli.cache.indexed import existing_root, stored_name
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs import (
    Champion,
    DamagedChampionError,
    NoChampionError,
    PromotionRecord,
    PromotionStore,
    roll_back,
)
from clip_adapter.shots import shots_in_words
from feature_cache.exchange.atomic_write import write_file

DatasetAtRest = Annotated[
    str, typer.Argument(help="By its name in the store, or as `clip-adapter train` takes it.")
]


def champion(
    dataset: DatasetAtRest,
    history: Annotated[
        bool, typer.Option("--history", help="List every decision with its numbers instead.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="Write the verified classifier to this safetensors file as well."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --to replace a file.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Say which classifier reigns on a dataset, by which numbers, and where its file lies.

    The file is verified. A champion whose file is damaged is named, and the one before it reigns.
    """
    store = PromotionStore(existing_root(root))
    name = stored_name(dataset)
    decisions = store.known_history(name)
    damaged: list[DamagedChampionError] = []
    found = store.champion(name, on_corruption=damaged.append)
    if not as_json:
        _warn(damaged)
    if to is not None:
        write_file(to.expanduser().resolve(), _need(found, name).content, overwrite=overwrite)
    if history:
        _tell_history(decisions, found, as_json=as_json)
        return
    _tell(_need(found, name), damaged, exported=to, as_json=as_json)


def lines_of(record: PromotionRecord) -> list[str]:
    """A decision as a person reads it."""
    who = f"{record.method} at {shots_in_words(record.shots)}, seed {record.seed}, with {record.model}"
    when = f"{record.decided_at:%Y-%m-%d %H:%M:%S} UTC"
    return [
        f"{record.sequence:>4}  {record.decision:<11}  {record.promotion_id[:8]}  {when}  {who}",
        f"      {record.reason}",
    ]


def _need(found: Champion | None, dataset: str) -> Champion:
    if found is None:
        raise NoChampionError(dataset)
    return found


def _warn(damaged: list[DamagedChampionError]) -> None:
    console = Console(stderr=True, highlight=False)
    for error in damaged:
        console.print(
            escape_control_characters(error), markup=False, soft_wrap=True, style="yellow"
        )


def _tell(
    found: Champion, damaged: list[DamagedChampionError], *, exported: Path | None, as_json: bool
) -> None:
    record = found.record
    if as_json:
        print_json(
            {
                **asdict(record),
                "file": str(found.path),
                "exported": exported and str(exported),
                "damaged": [str(error) for error in damaged],
            }
        )
        return
    who = f"{record.method} at {shots_in_words(record.shots)}, seed {record.seed}, with {record.model}"
    lines = [
        f"{record.dataset}: {who}",
        f"{record.decision} {record.decided_at:%Y-%m-%d %H:%M:%S} UTC, promotion {record.promotion}",
        record.reason,
        f"{len(found.content):,} bytes, verified: {found.path}",
        *([f"written to {exported}"] if exported else []),
    ]
    _print(lines)


def _tell_history(
    decisions: list[PromotionRecord], found: Champion | None, *, as_json: bool
) -> None:
    reigning = found.record.promotion_id if found else None
    if as_json:
        rows: list[dict[str, Any]] = [asdict(record) for record in decisions]
        print_json([{**row, "reigns": row["promotion_id"] == reigning} for row in rows])
        return
    for record in decisions:
        first, *rest = lines_of(record)
        mark = "  (reigns)" if record.promotion_id == reigning else ""
        _print([f"{first}{mark}", *rest])


def _print(lines: list[str]) -> None:
    console = Console(highlight=False)
    console.print("\n".join(map(escape_control_characters, lines)), markup=False, soft_wrap=True)


def rollback(
    dataset: DatasetAtRest,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="PROMOTION_ID",
            help="An id, or its first digits, as `clip-adapter champion DATASET --history` lists "
            "them; else the promotion before the one that reigns.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Let an earlier promotion reign again. Nothing is removed: one more decision is recorded.

    Its classifier is verified first. The next training challenges the one that reigns then.
    """
    record = roll_back(PromotionStore(existing_root(root)), stored_name(dataset), to=to)
    if as_json:
        print_json(asdict(record))
        return
    lines = "\n".join(map(escape_control_characters, lines_of(record)))
    Console(highlight=False).print(lines, markup=False, soft_wrap=True)
