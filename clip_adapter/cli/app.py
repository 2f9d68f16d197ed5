"""The `clip-adapter` command: the list of all commands, and one line for every error."""

import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

import clip_adapter
from clip_adapter.cli.extensions import ExtensibleGroup, lazily
from clip_adapter.cli.options import Data, Json, Root
from clip_adapter.errors import ClipAdapterError, is_out_of_memory
from clip_adapter.escaping import escape_control_characters
from clip_adapter.terminal import plain_console

INTERRUPTED, TERMINATED = 130, 143
EXIT_CODES = "Exit codes: 0 sound, or done; 1 damage found, or an error; 2 wrong usage."

app = typer.Typer(
    cls=ExtensibleGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Few-shot adaptation of CLIP: encode images once, train adapters in seconds, ask in SQL.",
)
cache = typer.Typer(
    name="cache",
    add_completion=False,
    no_args_is_help=True,
    help="Inspect, verify, compact, import and export stored features.",
    epilog=f"Every command takes --json. {EXIT_CODES}",
)
datasets = typer.Typer(
    name="datasets",
    add_completion=False,
    help="List, show, check, rename and forget datasets; alone it lists them.",
)
runs = typer.Typer(
    name="runs",
    add_completion=False,
    no_args_is_help=True,
    help="Remove old runs.",
    epilog=f"Every command takes --json. {EXIT_CODES}",
)
COMMANDS = {
    "pipeline:demo": "The whole path on real handwritten digits: encode, train, ask.",
    "pipeline:extract": "Encode a dataset's images and prompts once into the feature cache.",
    "pipeline:train": "Train and evaluate few-shot methods on cached features, and record every run.",
    "predict:predict": "Classify images with a trained classifier, through the feature cache.",
    "champion:champion": "Show the current champion of a dataset, its numbers and its file, or the champions of all "
    "datasets.",
    "champion:rollback": "Make an earlier promotion current again and pin it. Nothing is removed: one more "
    "decision is recorded.",
    "pipeline:reproduce": "Run one of the paper's ablations, which vary one setting of CLIP-Adapter, or "
    "another study.",
    "search:search": "Find the images of indexed datasets that are most like some words or an image.",
    "sql:sql": "Ask DuckDB about runs, metrics and predictions; nothing is locked or written.",
    "compare:compare": "Compare two methods on the same test images, over all seeds that both have.",
    "export:export": "Export a classifier as a folder: ONNX, model card, and a script that needs no "
    "torch.",
    "export_results:export_results": "Export recorded runs for MLflow or CLIP_benchmark; nothing is "
    "written to the store.",
    "report:report": "Write what was gained, how sure it is and what to look at next: a page of HTML, "
    "Markdown or LaTeX.",
    "plot:plot": "Draw one figure of recorded runs for a paper: SVG, PDF, PNG, or Vega-Lite as JSON.",
    "datasets:methods": "List the few-shot methods, and what can be set of each.",
}
"""Module in this package and command in it, with the first line of the command's help."""
CACHE_COMMANDS = {
    "stats:stats": "Show what is stored: encoders with their images, views, prompts, files and "
    "megabytes.",
    "why:why": "Show how many images of a dataset will be reused, and field by field why not the "
    "others.",
    "verify:verify": "Check the files and name those that are damaged, with the reason and what to do.",
    "gc:gc": "Remove unfinished files of killed processes and damaged files that were set aside.",
    "drop:drop": "Show which features of an encoder or dataset would be removed, and remove them with "
    "--yes.",
    "compact:compact": "Merge the small files of features and runs; nothing is lost if it is "
    "interrupted.",
    "exporting:export": "Write a dataset's features, labels, splits, digests and class texts to a file.",
    "importing:import_": "Import features that another program made, to train on them as features:NAME.",
}
"""Commands of the group `cache`: module in `cache` and command in it, with the first line of help."""
RUN_COMMANDS = {
    "runs:prune": "Show which old runs would be removed, and remove them with --yes; never a champion's.",
}
"""Commands of the group `runs`: module in this package and command in it, with the first line of help."""
DATASET_COMMANDS = {
    "datasets:list_": "List the datasets that are known, and those that are indexed, as they were "
    "indexed last.",
    "datasets:fetch": "Download a dataset into the data folder, or print the steps to get it by hand.",
    "datasets:show": "Show how many images each class and split of a dataset has, and what was left out "
    "and why.",
    "datasets:check": "Check a dataset, each finding with what to do; own images are read and nothing is "
    "stored.",
    "datasets:rename": "Give a dataset another name; its runs and champion go with it, and nothing is "
    "trained again.",
    "datasets:forget": "Show what would be removed of a dataset, and remove it with --yes; no image is "
    "touched.",
}
"""Commands of the group `datasets`: module in this package and command in it, with the first line of help."""


def _print_version(asked: bool) -> None:
    if asked:
        print(clip_adapter.__version__)  # noqa: T201  # for programs as well
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


@cache.callback()
def _cache_options() -> None:
    """Make a group of an application whose commands are added by `build`."""


@runs.callback()
def _run_options() -> None:
    """Make a group of an application whose commands are added by `build`."""


@datasets.callback(invoke_without_command=True)
def _list_datasets(
    context: typer.Context, root: Root = None, data: Data = None, as_json: Json = False
) -> None:
    """List the datasets unless one of the commands is called.

    Raises:
        typer.BadParameter: an option stands before the command that it is meant for.
    """
    if context.invoked_subcommand is None:
        from clip_adapter.cli.datasets import list_  # noqa: PLC0415  # imported when it is called

        list_(root=root, data=data, as_json=as_json)
    elif root or data or as_json:
        message = f"write the options after the command: datasets {context.invoked_subcommand} ..."
        raise typer.BadParameter(message)


def build() -> Any:
    """The whole command as a group of click."""
    group = lazily(app, COMMANDS, package="clip_adapter.cli")
    group.commands["cache"] = lazily(
        cache, CACHE_COMMANDS, package="clip_adapter.cli.cache", epilog=EXIT_CODES
    )
    group.commands["runs"] = lazily(
        runs, RUN_COMMANDS, package="clip_adapter.cli", epilog=EXIT_CODES
    )
    group.commands["datasets"] = lazily(datasets, DATASET_COMMANDS, package="clip_adapter.cli")
    return group


def main() -> NoReturn:
    """Run the command; an error is shown as one message, without a traceback."""
    # On a busy machine, threads that spin while they wait for one another make small tensor
    # programs ten times slower. OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # no telemetry
    # What was started for the command ends with it, Prefect's private server for one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        build()()
    except _refusals() as error:
        _say(f"error: {error}")
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _say(
            f"error: not enough memory ({str(error).splitlines()[0] if str(error) else 'Python says no more'}). "
            "What is stored is complete, and the same command goes on from there: close other programs, "
            "ask for less at a time, or take a machine with more memory"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        _say("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _refusals() -> tuple[type[BaseException], ...]:
    """The errors whose message is for the user; the store's only if it has been imported."""
    store: Any = sys.modules.get("feature_cache.errors")
    return ClipAdapterError, OSError, *([store.FeatureCacheError] if store else [])


def _say(message: str) -> None:
    shown = escape_control_characters(message, keep="\n")
    plain_console(stderr=True).print(shown, soft_wrap=True, style="red")
