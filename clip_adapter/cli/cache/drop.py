"""`clip-adapter cache drop`: free the room of features that can be encoded again."""

from typing import Annotated

import typer

from clip_adapter.cli.cache.indexed import existing_root
from clip_adapter.cli.changed_rows import change_rows, show_changes
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.pipeline.drop import drop_features
from clip_adapter.terminal import plain_console

Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME|DIGITS",
        help="Features of this encoder: its model, or the digits that `cache stats` shows.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Features of the images of this dataset that no other names.",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Remove them; without this they are only shown.")]


def drop(
    encoder: Encoder = None,
    dataset: Dataset = None,
    yes: Yes = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show which features of an encoder or dataset would be removed, and remove them with --yes.

    Indexes, runs and champions stay, and the features of images that a champion rests on.

    The next extraction encodes again what it needs.
    """
    place = existing_root(root)
    done = drop_features(place, encoder=encoder, dataset=dataset, dry_run=not yes)
    if as_json:
        print_json(
            {
                "root": str(place),
                "dry_run": not yes,
                "encoders": list(done.encoders),
                "imported": list(done.imported),
                "removed": change_rows(done.removed),
                "images_kept": done.n_images_kept,
            }
        )
        return
    console = plain_console()
    if done.removed:
        show_changes(console, done.removed, title="removed" if yes else "to remove")
    if done.n_images_kept:
        console.print(
            f"kept for champions: the features of {done.n_images_kept:,} images", soft_wrap=True
        )
    for name in done.imported if done.removed else ():
        console.print(
            f"{name[:12]} was imported and cannot be encoded again: keep the file that "
            "`clip-adapter cache import` read",
            soft_wrap=True,
        )
    if not done.removed:
        console.print("nothing to remove")
    elif not yes:
        console.print("nothing was removed: add --yes to remove it")
