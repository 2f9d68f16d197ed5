"""The export-results command: recorded runs in the forms of other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.escaping import escape_control_characters
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console

MLFLOW = "mlflow server --backend-store-uri sqlite:///mlflow.db"
"""Command that shows a tracking store, started in its folder; MLflow 3.7 and newer need no option."""


class Format(StrEnum):
    """Programs whose form is written."""

    MLFLOW = "mlflow"
    CLIP_BENCHMARK = "clip-benchmark"


def export_results(
    form: Annotated[
        Format,
        typer.Argument(
            metavar="mlflow|clip-benchmark", help="Program that is to read it.", show_default=False
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            metavar="PATH",
            help="Folder to write; for clip-benchmark also a file that ends in .csv.",
        ),
    ],
    datasets: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Export this dataset only; repeatable.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what exists under that name.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Export recorded runs for MLflow or CLIP_benchmark; nothing is written to the store.

    mlflow: all runs with parameters, metrics, curves and promoted classifiers; `mlflow server` in the
    folder shows them. clip-benchmark: the runs of the leaderboard, one JSON file each, or one CSV. A
    table for LaTeX is written by `clip-adapter report --to results.tex`.
    """
    from clip_adapter.exports import write_clip_benchmark, write_mlflow  # noqa: PLC0415  # some time

    write = write_mlflow if form is Format.MLFLOW else write_clip_benchmark
    path, location = to.expanduser().resolve(), Settings.of(root=root).location
    n_runs = write(location, path, datasets=datasets or [], overwrite=overwrite)
    if as_json:
        print_json({"path": path, "runs": n_runs})
        return
    shown = escape_control_characters(path)
    lines = [f"{n_runs:,} run{'s' * (n_runs != 1)} in {shown}"]
    if form is Format.MLFLOW:
        lines.append(f"to see them: cd {shown} && {MLFLOW}")
    plain_console().print("\n".join(lines), soft_wrap=True)
