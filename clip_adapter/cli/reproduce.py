"""The reproduce command: one of the paper's ablations."""

from typing import Annotated, Literal

import typer
from rich.console import Console

from clip_adapter.cli import summaries
from clip_adapter.cli.checkout import load_flow
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
from clip_adapter.settings import Settings
from clip_adapter.studies import STUDY_NAMES

__all__ = ["reproduce"]

Study = Annotated[str, typer.Argument(help=f"{', '.join(STUDY_NAMES[:-1])} or {STUDY_NAMES[-1]}.")]


def reproduce(
    study: Study,
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

    `clip-adapter report` draws the figure.
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
    summary = {
        **summaries.extraction_summary(done.encoded),
        "study": done.study,
        "runs_trained": done.n_trained,
        "runs_on_record": done.n_reused,
    }
    if as_json:
        summaries.print_json(summary)
        return
    Console(highlight=False).print(
        f"[bold]{study}[/bold]: {done.n_trained} runs trained, {done.n_reused} on record already; "
        "`clip-adapter report` draws them",
        soft_wrap=True,
    )
