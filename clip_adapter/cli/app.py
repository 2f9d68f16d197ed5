"""The command's front door: the list of commands, and one line for every error."""

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console

import clip_adapter
from clip_adapter.cli import (
    cache,
    champion,
    compare,
    datasets,
    methods,
    pipeline,
    report,
    reproduce,
    rollback,
    sql,
)
from clip_adapter.cli.extensions import ExtensibleGroup
from clip_adapter.errors import ClipAdapterError
from clip_adapter.loopback import without_proxy
from clip_adapter.printable import printable
from feature_cache import FeatureCacheError

__all__ = ["app", "main"]

INTERRUPTED, TERMINATED = 130, 143

app = typer.Typer(
    cls=ExtensibleGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Few-shot adaptation of CLIP: encode images once, train adapters in seconds, ask in SQL.",
)
app.command()(pipeline.demo)
app.command()(pipeline.extract)
app.command()(pipeline.train)
app.command()(champion.champion)
app.command()(rollback.rollback)
app.command()(reproduce.reproduce)
app.command()(sql.sql)
app.command()(compare.compare)
app.command()(report.report)
app.add_typer(cache.app, name="cache")
app.command()(datasets.datasets)
app.command()(methods.methods)


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


def main() -> NoReturn:
    """Run the command; what went wrong is said in one message, without a traceback."""
    # On a busy machine, threads that spin while they wait for one another make small tensor
    # programs ten times slower. OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # nobody is told of what is done on this machine
    os.environ.update(without_proxy(os.environ))  # Prefect's private server is on this machine
    # Whoever ends this process ends Prefect's private server with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        app()
    except (ClipAdapterError, FeatureCacheError, OSError) as error:
        _say(f"error: {error}")
        sys.exit(1)
    except BaseException as error:
        if _is_about_the_server(error):
            _say(
                f"error: Prefect's server at PREFECT_API_URL does not answer: {error}: "
                "`clip-adapter up`, or `unset PREFECT_API_URL` to do without one"
            )
            sys.exit(1)
        if not _was_interrupted(error):
            raise
        _say("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _say(message: str) -> None:
    shown = printable(message, keep="\n")
    Console(stderr=True, highlight=False, soft_wrap=True).print(shown, markup=False, style="red")


def _is_about_the_server(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "Failed to reach API" in str(error)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether this is Ctrl-C, or what came of it.

    Ctrl-C ends Prefect's private server as well, about which its client then complains.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
