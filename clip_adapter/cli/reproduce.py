"""The reproduce command: one of the paper's ablations."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from clip_adapter.cli import summaries
from clip_adapter.cli.checkout import load_flow
from clip_adapter.cli.leaderboard import accuracy_table
from clip_adapter.cli.options import (
    AugmentationOption,
    Data,
    Dataset,
    Device,
    Images,
    Indices,
    Json,
    ModelIfAny,
    Root,
    parse_numbers,
    parse_shots,
)
from clip_adapter.cli.requests import check_request, folders
from clip_adapter.errors import UnknownNameError
from clip_adapter.printable import printable
from clip_adapter.settings import Settings
from clip_adapter.studies import STUDY_NAMES
from feature_cache import Location

if TYPE_CHECKING:  # draws, which takes a second
    from clip_adapter.report import Study

__all__ = ["reproduce"]

StudyArgument = Annotated[
    str, typer.Argument(help=f"{', '.join(STUDY_NAMES[:-1])} or {STUDY_NAMES[-1]}.")
]


def reproduce(
    study: StudyArgument,
    dataset: Dataset = "digits",
    model: ModelIfAny = None,
    shots: Annotated[
        str, typer.Option(help="Labelled images a class, separated by commas; all for every one.")
    ] = "1,2,4,8,16",
    seeds: Annotated[
        str, typer.Option(help="One few-shot choice each, separated by commas.")
    ] = "1,2,3",
    recipe: Annotated[
        Literal["paper", "fast"], typer.Option(help="How CLIP-Adapter is trained.")
    ] = "paper",
    few_shot_indices: Indices = None,
    augmentation: AugmentationOption = "coop",
    images: Images = None,
    data: Data = None,
    root: Root = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Vary one thing about CLIP-Adapter and hold the rest still, as the paper's ablations do.

    What came of every variant stands at the end; `clip-adapter report` draws the figure.
    """
    if study not in STUDY_NAMES:
        raise UnknownNameError("study", study, STUDY_NAMES)
    places = Settings.of(root=root, data=data)
    check_request(dataset, model, places, images, methods=["clip-adapter"], settings={})
    flow = load_flow("reproduce_paper", workspace=places.workspace)
    done = flow(
        study,
        dataset,
        model,
        shots=parse_shots(shots),
        seeds=parse_numbers(seeds),
        recipe=recipe,
        few_shot_indices=None if few_shot_indices is None else str(few_shot_indices),
        augmentation=augmentation,
        device=device,
        **folders(places, images),
    )
    outcome = _outcome(places.location, done, recipe=recipe)
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
    _say_how_to_draw(console, summary["dataset"], root=root)


def _outcome(root: Location, done: Any, *, recipe: str) -> list["Study"]:
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


def _say_how_to_draw(console: Console, dataset: str, *, root: str | None) -> None:
    place = "" if root is None else f" --root {shlex.quote(root)}"
    command = f"clip-adapter report --dataset {dataset}{place} --to results.html"
    console.print()
    console.print(f"To draw the figure: {printable(command)}", markup=False, soft_wrap=True)
