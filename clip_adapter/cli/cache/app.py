"""The group of the cache commands."""

import typer

from clip_adapter.cli.extensions import lazily

EXIT_CODES = "Exit codes: 0 sound, or done; 1 damage found, or an error; 2 wrong usage."
COMMANDS = {
    "stats:stats": "Say what is stored: encoders with their images, views, prompts, files and "
    "megabytes.",
    "why:why": "Say how many images of a dataset will be reused, and field by field why not the "
    "others.",
    "verify:verify": "Check the files and name those that are damaged, with the reason and what to do.",
    "gc:gc": "Remove what dead writers left behind and what was set aside as damaged.",
    "compact:compact": "Merge the small files of features and runs; nothing is lost if it is "
    "interrupted.",
    "exporting:export": "Write a dataset's features, labels, splits, digests and class texts to a file.",
    "importing:import_": "Take in features that were made elsewhere, to train on them as features:NAME.",
}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look after the features at rest: what is there, is it sound, will it be reused; in and out.",
    epilog=f"Every command takes --json. {EXIT_CODES}",
)


@app.callback()
def _group() -> None:
    """Make a group of an application whose commands are added below."""


cache = lazily(app, COMMANDS, package="clip_adapter.cli.cache", epilog=EXIT_CODES)
