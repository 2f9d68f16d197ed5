"""The rollback command: an earlier champion reigns again."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from clip_adapter.cli.cache.indexed import stored_name
from clip_adapter.cli.cache.places import existing_root
from clip_adapter.cli.champion import DatasetAtRest, lines_of
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.printable import printable
from clip_adapter.runs import PromotionStore, roll_back

__all__ = ["rollback"]


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
    lines = "\n".join(map(printable, lines_of(record)))
    Console(highlight=False).print(lines, markup=False, soft_wrap=True)
