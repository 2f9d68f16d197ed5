"""The group of the cache commands."""

import typer

from clip_adapter.cli.cache.compact import compact
from clip_adapter.cli.cache.exporting import export
from clip_adapter.cli.cache.gc import gc
from clip_adapter.cli.cache.importing import import_
from clip_adapter.cli.cache.stats import stats
from clip_adapter.cli.cache.verify import verify
from clip_adapter.cli.cache.why import why

__all__ = ["app"]

EXIT_CODES = "Exit codes: 0 sound, or done; 1 damage found, or an error; 2 wrong usage."

app = typer.Typer(
    no_args_is_help=True,
    help="Look after the features at rest: what is there, is it sound, will it be reused; in and out.",
    epilog=f"Every command takes --json. {EXIT_CODES}",
)
for command in (stats, why, verify, gc, compact, export):
    app.command(epilog=EXIT_CODES)(command)
app.command("import", epilog=EXIT_CODES)(import_)
