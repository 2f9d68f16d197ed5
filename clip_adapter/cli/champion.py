"""The champion and rollback commands: the current champion, its history, and the way back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_adapter.cli.cache.indexed import existing_root
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.identity import stored_name
from clip_adapter.runs import (
    Champion,
    DamagedChampionError,
    PromotionRecord,
    PromotionStore,
    RunStoreError,
    connect,
    name_runs,
    roll_back,
    set_pinned,
)
from clip_adapter.shots import shots_in_words
from clip_adapter.terminal import plain_console
from feature_cache import Location
from feature_cache.exchange.atomic_write import write_file

StoredDataset = Annotated[
    str, typer.Argument(help="By its name in the store, or as `clip-adapter train` takes it.")
]


def champion(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="By its name in the store, or as `clip-adapter train` takes it; all when left out.",
            show_default=False,
        ),
    ] = None,
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
    pin: Annotated[
        bool | None,
        typer.Option(
            "--pin/--unpin",
            help="Pin it: it stays until a challenger is proven better on images that are newer; or unpin it. "
            "A rollback pins.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show the current champion of a dataset, its numbers and its file, or the champions of all datasets.

    The file is verified. A champion whose file is damaged is named, and the one before it shown.
    """
    place = existing_root(root)
    store = PromotionStore(place)
    if dataset is None:
        if history or to is not None or pin is not None:
            raise ParameterError("--history, --to, --pin and --unpin need the name of a dataset")
        _show_all(store, as_json=as_json)
        return
    name = stored_name(dataset, root=place)
    if pin is not None:
        set_pinned(store, name, is_pinned=pin)
    decisions = store.known_history(name)
    damaged: list[DamagedChampionError] = []
    found = store.champion(name, on_corruption=damaged.append)
    if not as_json:
        _warn(damaged)
    if to is not None:
        write_file(to.expanduser().resolve(), _need(found, name).content, overwrite=overwrite)
    names = {} if as_json else _names(place, decisions)
    if history:
        _show_history(decisions, found, names=names, as_json=as_json)
        return
    _show(_need(found, name), damaged, names=names, exported=to, as_json=as_json)


def _show_all(store: PromotionStore, *, as_json: bool) -> None:
    """The champion of every dataset on which something was decided, a line each."""
    damaged: list[DamagedChampionError] = []
    found = {name: store.champion(name, on_corruption=damaged.append) for name in store.datasets()}
    if as_json:
        print_json([asdict(each.record) for each in found.values() if each])
        return
    _warn(damaged)
    names = _names(store.root, [each.record for each in found.values() if each])
    widest = max(map(len, found), default=0)
    _print(
        [
            f"{name:<{widest}}  {_in_a_line(each.record, names) if each else 'none: zero-shot'}"
            for name, each in found.items()
        ]
        or ["no dataset has a champion: train with --promote"]
    )


def _in_a_line(record: PromotionRecord, names: Mapping[str, str]) -> str:
    since = f"since {record.decided_at:%Y-%m-%d %H:%M} UTC"
    return f"{_who(record, names)}, {since}, promotion {record.promotion[:8]}{_pinned(record)}"


def _pinned(record: PromotionRecord) -> str:
    return ", pinned" if record.pinned else ""


def lines_of(record: PromotionRecord, *, names: Mapping[str, str]) -> list[str]:
    """A decision as lines of text, with the names of candidates by the ids of their runs."""
    when = f"{record.decided_at:%Y-%m-%d %H:%M:%S} UTC"
    who = _who(record, names)
    return [
        f"{record.sequence:>4}  {record.action:<11}  {record.promotion_id[:8]}  {when}  {who}",
        f"      {record.reason}",
    ]


def _names(root: Location, decisions: Sequence[PromotionRecord]) -> dict[str, str]:
    """The names of candidates that tell them apart, by the ids of their runs."""
    with connect(root) as database:
        return name_runs(database, [record.run_id for record in decisions])


def _who(record: PromotionRecord, names: Mapping[str, str]) -> str:
    name = names.get(record.run_id, record.method)
    return f"{name} at {shots_in_words(record.shots)}, seed {record.seed}, with {record.model}"


def _need(found: Champion | None, dataset: str) -> Champion:
    if found is None:
        raise RunStoreError.no_champion(dataset)
    return found


def _warn(damaged: list[DamagedChampionError]) -> None:
    console = plain_console(stderr=True)
    for error in damaged:
        console.print(escape_control_characters(error), soft_wrap=True, style="yellow")


def _show(
    found: Champion,
    damaged: list[DamagedChampionError],
    *,
    names: Mapping[str, str],
    exported: Path | None,
    as_json: bool,
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
    when = f"{record.decided_at:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{record.dataset}: {_who(record, names)}",
        f"{record.action} {when}, promotion {record.promotion}{_pinned(record)}",
        record.reason,
        f"{len(found.content):,} bytes, verified: {found.path}",
        *([f"written to {exported}"] if exported else []),
    ]
    _print(lines)


def _show_history(
    decisions: list[PromotionRecord],
    found: Champion | None,
    *,
    names: Mapping[str, str],
    as_json: bool,
) -> None:
    current = found.record.promotion_id if found else None
    if as_json:
        rows: list[dict[str, Any]] = [asdict(record) for record in decisions]
        print_json([{**row, "reigns": row["promotion_id"] == current} for row in rows])
        return
    for record in decisions:
        first, *rest = lines_of(record, names=names)
        mark = "  (current)" if record.promotion_id == current else ""
        _print([f"{first}{mark}", *rest])


def _print(lines: list[str]) -> None:
    console = plain_console()
    console.print("\n".join(map(escape_control_characters, lines)), soft_wrap=True)


def rollback(
    dataset: StoredDataset,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="PROMOTION_ID",
            help="An id, or its first digits, as `clip-adapter champion DATASET --history` lists "
            "them; else the promotion before the current one.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Make an earlier promotion current again and pin it. Nothing is removed: one more decision is recorded.

    Its classifier is verified first. It stays until a challenger is proven better on images that are newer than
    the rollback, or `clip-adapter champion DATASET --unpin` lets every image count again.
    """
    place = existing_root(root)
    record = roll_back(PromotionStore(place), stored_name(dataset, root=place), to=to)
    if as_json:
        print_json(asdict(record))
        return
    lines = "\n".join(
        map(escape_control_characters, lines_of(record, names=_names(place, [record])))
    )
    plain_console().print(lines, soft_wrap=True)
