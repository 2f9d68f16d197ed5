"""The report command: recorded runs as a page with figures."""

from pathlib import Path
from typing import Annotated

import typer

from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.escaping import escape_control_characters
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console


def report(
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            help="One .html file, a .md file with figures in a folder beside it, or .tex with the "
            "tables of accuracy.",
        ),
    ] = Path("results.html"),
    datasets: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Report on this dataset only; repeatable."),
    ] = None,
    images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="Show images that are classified wrongly, and features before and after the adapter.",
        ),
    ] = True,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write what was gained, how sure it is and what to look at next: a page of HTML, Markdown or LaTeX.

    The same runs give the same files, and nothing is written to the store. For the figure of features a run may be
    fitted again; --no-images leaves that out.
    """
    from clip_adapter.pipeline.report import write_report  # noqa: PLC0415  # draws, which takes a second

    page = to.expanduser().resolve()
    written = write_report(
        Settings.of(root=root).location, page, datasets=datasets or [], has_images=images
    )
    if as_json:
        print_json({"page": written.page, "figures": list(written.figures), "runs": written.n_runs})
        return
    figures = (
        f", figures in {escape_control_characters(written.figures[0].parent)}"
        if written.figures
        else ""
    )
    plain_console().print(
        f"{written.n_runs:,} run{'s' * (written.n_runs != 1)} in {escape_control_characters(written.page)}{figures}",
        soft_wrap=True,
    )
