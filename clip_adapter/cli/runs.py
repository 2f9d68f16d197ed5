"""`clip-adapter runs prune`: free the room of old runs."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from clip_adapter.cli.cache.indexed import existing_root
from clip_adapter.cli.changed_rows import change_rows, show_changes
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.pipeline.prune import prune_runs
from clip_adapter.terminal import plain_console

_DAYS = {"d": 1, "w": 7}

OlderThan = Annotated[
    str,
    typer.Option("--older-than", metavar="AGE|DATE", help="As 90d, 12w or 2026-05-31."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Remove them; without this they are only shown.")]


def prune(
    older_than: OlderThan, yes: Yes = False, root: Root = None, as_json: Json = False
) -> None:
    """Show which old runs would be removed, and remove them with --yes.

    Runs stay that a decision on a champion cites, so that every rollback works, and those that answer the
    last training of a dataset.

    Requests, decisions and counts of extractions always stay.
    """
    before = parse_time(older_than)
    place = existing_root(root)
    done = prune_runs(place, before=before, dry_run=not yes)
    if as_json:
        print_json(
            {
                "root": str(place),
                "dry_run": not yes,
                "before": before.isoformat(),
                "runs": done.n_runs,
                "removed": change_rows(done.removed),
                "kept_for_champions": done.n_cited,
                "kept_as_current": done.n_current,
            }
        )
        return
    console = plain_console()
    if done.removed:
        show_changes(console, done.removed, title="removed" if yes else "to remove")
    console.print(
        f"{done.n_runs:,} {'run' if done.n_runs == 1 else 'runs'} from before {before:%Y-%m-%d %H:%M} UTC {'removed' if yes else 'to remove'}; of that "
        f"age stay {done.n_cited:,} that decisions on champions cite and {done.n_current:,} that "
        "answer the last training of a dataset",
        soft_wrap=True,
    )
    if done.removed and not yes:
        console.print("nothing was removed: add --yes to remove it")


def parse_time(text: str, *, now: datetime | None = None) -> datetime:
    """The moment so long ago, or the start of a day, in UTC.

    >>> parse_time("2w", now=datetime(2026, 5, 31, tzinfo=UTC)).date().isoformat()
    '2026-05-17'

    Raises:
        typer.BadParameter: the text has another form, or lies in the future.
    """
    moment = datetime.now(UTC) if now is None else now
    if found := re.fullmatch(r"([0-9]{1,5})([dw])", text):
        return moment - timedelta(days=int(found[1]) * _DAYS[found[2]])
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        message = (
            f"--older-than {text!r}: expected days or weeks, as 90d or 12w, or a date as 2026-05-31"
        )
        raise typer.BadParameter(message) from None
    if day > moment:
        raise typer.BadParameter(
            f"--older-than {text!r} lies in the future: give a date that is past"
        )
    return day
