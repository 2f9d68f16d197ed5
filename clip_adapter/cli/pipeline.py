"""Commands that run a flow: extract, train, demo."""

from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from clip_adapter.cli import imported, summaries
from clip_adapter.cli.checkout import load_flow
from clip_adapter.cli.options import (
    AugmentationOption,
    Data,
    Dataset,
    Device,
    Images,
    Indices,
    Json,
    MaxBad,
    ModelIfAny,
    Precision,
    Processes,
    Resize,
    Root,
    Templates,
    Views,
    parse_numbers,
    parse_settings,
    parse_shots,
)
from clip_adapter.cli.requests import check_request, folders, names_of_methods
from clip_adapter.datasets import IMPORTED, check_imported_alone
from clip_adapter.settings import Settings
from feature_cache import Location

__all__ = ["demo", "extract", "train"]

METHODS = "zero-shot,linear-probe,clip-adapter"


def extract(
    dataset: Dataset,
    model: ModelIfAny = None,
    images: Images = None,
    data: Data = None,
    root: Root = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    resize: Resize = None,
    views: Views = 0,
    augmentation: AugmentationOption = "tip-adapter",
    processes: Processes = 0,
    max_bad_fraction: MaxBad = 0.05,
    as_json: Json = False,
) -> None:
    """Encode a dataset's images and prompts once into the feature cache."""
    places = Settings.of(root=root, data=data)
    check_imported_alone(
        dataset,
        model=model,
        images=images,
        precision=precision != "fp32",
        resize=resize,
        views=views,
    )
    if dataset.startswith(IMPORTED):
        found = imported.find_by_name(places.location, dataset)
        imported.say_nothing_to_encode(found, as_json=as_json)
        return
    check_request(dataset, model, places, images)
    flow = load_flow("extract_features", workspace=places.workspace)
    encoded = flow(
        dataset,
        model,
        device=device,
        precision=precision,
        resize=resize,
        views=views,
        augmentation=augmentation,
        processes=processes,
        max_bad_fraction=max_bad_fraction,
        **folders(places, images),
    )
    summary = summaries.extraction_summary(encoded)
    if as_json:
        summaries.print_json(summary)
        return
    summaries.show_extraction(Console(highlight=False), summary)


def train(
    dataset: Dataset,
    model: ModelIfAny = None,
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas, or all; see `clip-adapter methods`.")
    ] = METHODS,
    shots: Annotated[
        str, typer.Option(help="Labelled images a class, separated by commas; all for every one.")
    ] = "1,2,4,8,16",
    seeds: Annotated[
        str, typer.Option(help="One few-shot choice each, separated by commas.")
    ] = "1,2,3",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="METHOD.SETTING=VALUE",
            help="As clip-adapter.epochs=20 or clip-adapter.residual_ratios=[0.2]; repeatable.",
        ),
    ] = None,
    template: Templates = None,
    few_shot_indices: Indices = None,
    augmentation: AugmentationOption = "tip-adapter",
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train again what is on record.")
    ] = False,
    promote: Annotated[
        bool,
        typer.Option(
            "--promote",
            help="Let the best on validation be the champion, if it is proven better than that is.",
        ),
    ] = False,
    max_relabelled_fraction: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Promote nothing if more images than this changed their class."
        ),
    ] = 0.05,
    images: Images = None,
    data: Data = None,
    root: Root = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    resize: Resize = None,
    max_bad_fraction: MaxBad = 0.05,
    as_json: Json = False,
) -> None:
    """Train and evaluate few-shot methods on cached features, and record every run."""
    places = Settings.of(root=root, data=data)
    asked = {
        "methods": names_of_methods(methods, dataset),
        "shots": parse_shots(shots),
        "seeds": parse_numbers(seeds),
        "settings": parse_settings(settings or []),
    }
    check_imported_alone(
        dataset, model=model, images=images, precision=precision != "fp32", resize=resize
    )
    check_request(dataset, model, places, images, **asked)
    flow = load_flow("train_adapters", workspace=places.workspace)
    trained = flow(
        dataset,
        model,
        device=device,
        precision=precision,
        resize=resize,
        max_bad_fraction=max_bad_fraction,
        retrain=retrain,
        promote=promote,
        max_relabelled_fraction=max_relabelled_fraction,
        templates=template,
        few_shot_indices=None if few_shot_indices is None else str(few_shot_indices),
        augmentation=augmentation,
        **asked,
        **folders(places, images),
    )
    _show_training(trained, places.location, as_json=as_json)


def demo(root: Root = None, as_json: Json = False) -> None:
    """The whole path on real handwritten digits: encode, train, ask."""
    places = Settings.of(root=root)
    console = Console(stderr=as_json, highlight=False)
    console.print(
        "Encoding 1,797 handwritten digits with the built-in CLIP, then training adapters\n"
        f"on the cached features. Everything is written to\n{places.location}\n",
        soft_wrap=True,
    )
    flow = load_flow("train_adapters", workspace=places.workspace)
    trained = flow("digits", "glyphs", **folders(places, None))
    _show_training(trained, places.location, as_json=as_json)
    if not as_json:
        _show_files_and_next_steps(console, places.workspace)


def _show_training(trained: Any, root: Location, *, as_json: bool) -> None:
    encoded = trained.encoded
    rows = summaries.leaderboard_rows(root, dataset=encoded.dataset.name, encoder=encoded.encoder)
    summary = summaries.training_summary(trained)
    if as_json:
        summaries.print_json({**summary, "leaderboard": rows})
        return
    console = Console(highlight=False)
    summaries.show_extraction(console, summary)
    console.print(
        f"[bold]{summary['runs_trained']} runs trained[/bold] in {summary['seconds_train']:.1f} s, "
        f"{summary['runs_on_record']} on record already"
    )
    summaries.show_leaderboard(console, rows)
    summaries.show_promotion(console, summary["promotion"])


def _show_files_and_next_steps(console: Console, root: Path) -> None:
    lines = [f"\nFiles below {root}:"]
    for folder, files in groupby(summaries.stored_files(root), key=lambda file: file.parent):
        sizes = [file.stat().st_size for file in files]
        short = "/".join(part[:12] for part in folder.relative_to(root).parts)
        lines.append(f"  {short:<36} {len(sizes):>4} files {sum(sizes) / 1e6:8.2f} MB")
    lines += [
        "\nWhere to go next:",
        '  clip-adapter sql "SELECT method, shots, accuracy_mean FROM leaderboard"',
        "  clip-adapter train imagefolder:PATH    your own images, as class/picture.jpg",
        "  clip-adapter --help                    and README.md for nightly runs",
        "(clip-adapter lives in .venv/bin; `. .venv/bin/activate` puts it on the PATH.)",
    ]
    console.print("\n".join(lines), soft_wrap=True, markup=False)
