"""Several requests in one command, and what the field's protocols show beside the leaderboard."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console

from clip_adapter.cli import summaries
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import DatasetRequest
from clip_adapter.runs import RunDatabase, connect, legend, with_names
from clip_adapter.terminal import plain_console

if TYPE_CHECKING:
    from clip_adapter.pipeline.in_turn import DatasetsTable, Failure
    from clip_adapter.pipeline.train import Training
    from clip_adapter.report.tables import Table

AnyRequest = TypeVar("AnyRequest", bound=DatasetRequest)
Result = TypeVar("Result")

_BASE_TO_NEW = """
SELECT * FROM base_to_new_means WHERE dataset = $dataset AND encoder = $encoder
"""
_SHIFT = """
SELECT * FROM shift_means
WHERE source = $dataset AND encoder = $encoder AND list_contains($targets, target)
"""

MOST_COLUMNS = 12
"""Largest number of methods that have a column each."""


def show_in_turn(
    requests: Sequence[AnyRequest],
    run: Callable[[AnyRequest], Result],
    *,
    summarise: Callable[[Result], dict[str, Any]],
    show: Callable[[Console, Any, dict[str, Any]], None],
    check: Callable[[AnyRequest], object] = lambda _: None,
    as_json: bool,
) -> "list[tuple[AnyRequest, Result | Failure]]":
    """Run several requests one after the other and show the summary of each; as JSON, in a list.

    All names are checked before the first is run, and after one that fails the others are run.

    Returns:
        Each request with its result, or with why there is none; both where some runs failed.
    """
    from clip_adapter.pipeline.in_turn import Failure, run_in_turn  # noqa: PLC0415  # computes

    console, errors = plain_console(), plain_console(stderr=True)
    outcomes: list[tuple[AnyRequest, Result | Failure]] = []
    answers: list[dict[str, Any]] = []
    for request, outcome in run_in_turn(requests, run, check=check, reporter=Reporter()):
        outcomes.append((request, outcome))
        if isinstance(outcome, Failure):
            if outcome.is_partial:  # the result before this one is of the same request
                answers[-1]["error"] = outcome.error
            else:
                answers.append(
                    {"dataset": request.dataset, "model": request.model, "error": outcome.error}
                )
            print_escaped(errors, f"error: {outcome.pair}: {outcome.error}")
            continue
        answers.append(summarise(outcome))
        if not as_json:
            print_escaped(
                console, f"\n{answers[-1]['dataset']} with {answers[-1]['model']}", style="bold"
            )
            show(console, request, answers[-1])
    if as_json:
        summaries.print_json(answers)
    return outcomes


def exit_if_some_failed(failures: "Sequence[Failure]", *, of: int) -> None:
    """Exit with code 1 if some of several requests failed, and say which.

    Raises:
        Exit: some failed.
    """
    if failures:
        pairs = "; ".join(each.pair for each in failures)
        print_escaped(plain_console(stderr=True), f"{len(failures)} of {of} failed: {pairs}")
        raise typer.Exit(1)


def print_escaped(console: Console, text: str, *, style: str = "red") -> None:
    """Print a text that may hold names of the user's files."""
    shown = escape_control_characters(text, keep="\n")
    console.print(shown, soft_wrap=True, style=style)


def show_tables(console: Console, tables: "Sequence[DatasetsTable]", *, what: str) -> None:
    """Print datasets x methods, the mean over datasets, and what is missing and why.

    Of more than `MOST_COLUMNS` methods each has a line, and each dataset a column.
    """
    for table in tables:
        rows = [
            [name, *(_percent(row.get(each)) for each in table.columns)]
            for name, row in table.rows.items()
        ]
        rows += [
            [each.dataset, *("-" for _ in table.columns)]
            for each in table.failures
            if not each.is_partial
        ]
        n_rows, n_whole = len(rows), len(table.whole)
        if table.mean and n_rows > 1:
            name = "mean" if n_whole == n_rows else f"mean of {n_whole}"
            rows.append([name, *(_percent(table.mean[each]) for each in table.columns)])
        whole_table, last = [["dataset", *table.columns], *rows], "line"
        if len(table.columns) > MOST_COLUMNS:  # as of a study of every method
            whole_table[0][0], last = "method", "column"
            whole_table = [list(line) for line in zip(*whole_table, strict=True)]
        header, *lines = whole_table
        console.print()
        console.print(
            summaries.text_table(
                header,
                lines,
                title=f"{what}, {table.heading}, %",
                caption=f"mean over seeds; in the last {last} the mean over datasets"
                + (" that have every method" if n_whole < n_rows else "")
                if n_rows > 1
                else "mean over seeds",
            )
        )
        for each in table.failures:
            print_escaped(console, f"- {each.dataset}: {each.error}", style="")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def protocol_summary(training: "Training") -> dict[str, Any]:
    """What a training under one of the field's protocols adds to its summary; nothing for others."""
    encoded = training.encoded
    root = encoded.dataset.root
    trained = {"dataset": encoded.dataset.name, "encoder": encoded.encoder}
    found: dict[str, Any] = {}
    if not training.is_base_to_new and not training.tested_on:
        return found
    with connect(root) as database:
        if training.is_base_to_new:
            found["base_to_new"] = _named_rows(database, _BASE_TO_NEW, trained)
        if training.tested_on:
            targets = list(training.tested_on)
            found["shift"] = _named_rows(database, _SHIFT, {**trained, "targets": targets})
    return found


def _named_rows(
    database: RunDatabase, sql: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """The answer, with a `name` that tells its methods apart in words."""
    return with_names(database, database.query(sql, parameters).to_pylist())


def show_protocols(console: Console, summary: dict[str, Any]) -> None:
    """Print what `protocol_summary` found."""
    halves, shift = summary.get("base_to_new"), summary.get("shift")
    if not halves and not shift:
        return
    from clip_adapter.report.tables import (  # noqa: PLC0415  # draws, which takes a second to import
        base_to_new_table,
        shift_table,
    )

    shown = [row["name"] for row in [*(halves or []), *(shift or [])]]
    over_seeds = "; ".join(["mean ± 95 % interval over seeds", *legend(shown)])
    if halves:
        title = f"{halves[0]['dataset']} with {halves[0]['model']}, base to new: test accuracy, %"
        caption = (
            "trained on the first half of the classes; each half is told apart from its own classes alone; "
            f"harmonic mean of both; {over_seeds}"
        )
        _show_table(console, base_to_new_table(halves), title=title, caption=caption)
    if shift:
        title = (
            f"trained on {shift[0]['source']} with {shift[0]['model']}, tested on its own test split "
            "(source) and on others (target): test accuracy, %"
        )
        caption = (
            "domain shift: the classes are the same by name; cross-dataset: other classes, known by their "
            f"text; {over_seeds}"
        )
        _show_table(console, shift_table(shift), title=title, caption=caption)


def _show_table(console: Console, table: "Table", *, title: str, caption: str) -> None:
    console.print()
    console.print(
        summaries.text_table(
            table.header, table.rows, title=title, caption=caption, n_words=table.n_words
        )
    )
