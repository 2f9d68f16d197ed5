"""The reproduce command: one of the paper's ablations."""

import shlex
from typing import TYPE_CHECKING, Any

from rich.console import Console

from clip_adapter.cli import summaries
from clip_adapter.cli.options import Json
from clip_adapter.cli.requests import Prefect, from_options, run
from clip_adapter.cli.summaries import accuracy_table
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.requests import ReproduceRequest
from feature_cache import Location

if TYPE_CHECKING:  # draws, which takes a second
    from clip_adapter.pipeline.ablations import Reproduction
    from clip_adapter.report import Study


@from_options(ReproduceRequest)
def reproduce(request: ReproduceRequest, prefect: Prefect = False, as_json: Json = False) -> None:
    """Vary one thing about CLIP-Adapter and hold the rest still, as the paper's ablations do.

    The result of every variant is shown at the end; `clip-adapter report` draws the figure.
    """
    done: Reproduction = run("reproduce_paper", request, prefect=prefect)
    outcome = _outcome(request.location, done, recipe=request.recipe)
    summary = {
        **summaries.extraction_summary(done.encoded),
        "study": done.study,
        "runs_trained": done.n_trained,
        "runs_on_record": done.n_reused,
        "outcome": [row for each in outcome for row in _rows(each)],
    }
    if as_json:
        summaries.print_json(summary)
        return
    console = Console(highlight=False)
    _show(console, summary, outcome)
    _say_how_to_draw(console, summary["dataset"], root=request.root)


def _outcome(root: Location, done: "Reproduction", *, recipe: str) -> list["Study"]:
    """The study as the report's figure shows it, with all its runs on record; one at most."""
    from clip_adapter.report import read_studies  # noqa: PLC0415  # draws, which takes a second

    encoded = done.encoded
    studies = read_studies(root, dataset=encoded.dataset.name, encoder=encoded.encoder)
    return [each for each in studies if (each.name, each.recipe) == (done.study, recipe)]


def _rows(study: "Study") -> list[dict[str, Any]]:
    """A row a variant and number of shots, named as on the leaderboard."""
    return [
        {
            "variant": variant.name,
            "shots": shots,
            "accuracy_mean": mean.value,
            "accuracy_ci95": mean.half_width,
        }
        for variant in study.variants
        for shots, mean in variant.means.items()
    ]


def _show(console: Console, summary: dict[str, Any], outcome: list["Study"]) -> None:
    trained, known = summary["runs_trained"], summary["runs_on_record"]
    console.print(f"[bold]{trained} runs trained[/bold], {known} on record already")
    for study in outcome:
        scores = {
            variant.name: {
                shots: (mean.value, mean.half_width) for shots, mean in variant.means.items()
            }
            for variant in study.variants
        }
        who = f"{study.name} on {summary['dataset']} with {summary['model']}"
        table = accuracy_table(
            scores,
            heading=study.varied,
            title=f"{who}, {study.recipe} recipe: test accuracy, %",
            caption="mean ± 95 % interval over seeds, of all runs of this study on record",
        )
        console.print()
        console.print(table)


def _say_how_to_draw(console: Console, dataset: str, *, root: Any) -> None:
    place = "" if root is None else f" --root {shlex.quote(str(root))}"
    command = f"clip-adapter report --dataset {dataset}{place} --to results.html"
    console.print()
    console.print(
        f"To draw the figure: {escape_control_characters(command)}", markup=False, soft_wrap=True
    )
