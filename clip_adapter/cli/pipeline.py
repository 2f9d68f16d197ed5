"""Commands that run the pipeline: extract, train, demo."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from clip_adapter.cli import summaries
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.requests import Prefect, from_options, run
from clip_adapter.datasets import IMPORTED
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.requests import ExtractRequest, TrainRequest
from clip_adapter.settings import Settings
from feature_cache import Location

if TYPE_CHECKING:
    from clip_adapter.pipeline.encode import EncodedDataset
    from clip_adapter.pipeline.train import Training


@from_options(ExtractRequest, required=("dataset",))
def extract(request: ExtractRequest, prefect: Prefect = False, as_json: Json = False) -> None:
    """Encode a dataset's images and prompts once into the feature cache."""
    encoded: EncodedDataset = run("extract_features", request, prefect=prefect)
    summary = summaries.extraction_summary(encoded)
    if as_json:
        summaries.print_json(summary)
    elif request.dataset.startswith(IMPORTED):
        Console(highlight=False).print(
            f"nothing to encode: all {encoded.n_reused:,} features of {request.dataset} were "
            f"imported, made by {escape_control_characters(encoded.model)}",
            markup=False,
            soft_wrap=True,
        )
    else:
        summaries.show_extraction(Console(highlight=False), summary)


@from_options(TrainRequest, required=("dataset",))
def train(request: TrainRequest, prefect: Prefect = False, as_json: Json = False) -> None:
    """Train and evaluate few-shot methods on cached features, and record every run."""
    training: Training = run("train_adapters", request, prefect=prefect)
    _show_training(training, request.location, as_json=as_json)


def demo(root: Root = None, prefect: Prefect = False, as_json: Json = False) -> None:
    """The whole path on real handwritten digits: encode, train, ask."""
    places = Settings.of(root=root)
    console = Console(stderr=as_json, highlight=False)
    console.print(
        "Encoding 1,797 handwritten digits with the built-in CLIP, then training adapters\n"
        f"on the cached features. Everything is written to\n{places.location}\n",
        soft_wrap=True,
    )
    request = TrainRequest(dataset="digits", model="glyphs", root=root)
    training: Training = run("train_adapters", request, prefect=prefect)
    _show_training(training, places.location, as_json=as_json)
    if not as_json:
        _show_files_and_next_steps(console, places.workspace)


def _show_training(trained: "Training", root: Location, *, as_json: bool) -> None:
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
