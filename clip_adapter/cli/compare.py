"""The compare command: two methods on the same test images."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.identity import stored_name
from clip_adapter.runs import ADVISED_SEEDS, Comparison, compare_methods
from clip_adapter.settings import Settings
from clip_adapter.shots import shots_from_words, shots_in_words
from clip_adapter.terminal import plain_console

_Name = (
    "A method; where it ran with several settings or on several choices of images, with the words in brackets "
    "that tables and errors have, as 'clip-adapter (ratio 0.2)'."
)


def compare(
    method_a: Annotated[str, typer.Argument(metavar="METHOD_A", help=_Name)],
    method_b: Annotated[str, typer.Argument(metavar="METHOD_B", help="What it is compared with.")],
    dataset: Annotated[str, typer.Option("--dataset", help="By its name in the store.")],
    shots: Annotated[
        int,
        typer.Option(
            "--shots",
            parser=shots_from_words,
            metavar="NUMBER",
            help="Labelled images a class; all where every one trains.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Name or fingerprint of the encoder, where there are runs of several.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Compare two methods on the same test images, over all seeds that both have.

    Interval and p-value cover other draws of training images and other test images where there are
    several seeds; one seed, or seeds that all train on the same images, show something of these
    classifiers only (McNemar's exact test). Where training is cheap, train with --seeds 1-10: with 3
    seeds only large differences can be shown. A method without shots, as zero-shot, is compared at
    any number of shots.
    """
    location = Settings.of(root=root).location
    compared = compare_methods(
        location,
        (method_a, method_b),
        dataset=stored_name(dataset, root=location),
        shots=shots,
        model=model,
    )
    if as_json:
        print_json(_summary(compared))
    else:
        _show(plain_console(), compared)


def _summary(compared: Comparison) -> dict[str, Any]:
    paired = compared.paired
    return {
        "dataset": compared.a.last.dataset,
        "model": compared.a.last.model,
        "encoder": compared.a.last.encoder,
        "shots": compared.shots,
        "seeds": [seed for seed in compared.seeds if seed is not None],
        "method_a": compared.a.last.method,
        "method_b": compared.b.last.method,
        "name_a": compared.a.name,
        "name_b": compared.b.name,
        "settings_fingerprint_a": compared.a.last.settings_fingerprint,
        "settings_fingerprint_b": compared.b.last.settings_fingerprint,
        "n_test": paired.n_images,
        "accuracy_a": paired.accuracy_a,
        "accuracy_b": paired.accuracy_b,
        "difference": paired.difference,
        "difference_low": paired.low,
        "difference_high": paired.high,
        "seed_differences": list(paired.seed_differences),
        "a_right_more_often": paired.wins,
        "b_right_more_often": paired.losses,
        "equally_often": paired.ties,
        "p_value": paired.p_value,
        "adjusted_p_value": paired.adjusted_p_value,
        "same_training_images": paired.same_training_images,
        "scope": paired.scope,
        "verdict": paired.verdict,
    }


def _show(console: Console, compared: Comparison) -> None:
    a, b = (
        escape_control_characters(compared.a.name),
        escape_control_characters(compared.b.name),
    )
    # Above the table and not its title, which would be as narrow as the table is.
    console.print(_title(compared), soft_wrap=True)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in _lines(compared, a, b).items():
        table.add_row(Text(name), Text(value))
    console.print(table)
    console.print(Text(_verdict(compared, a, b), style="bold"))
    if advice := _advice(compared):
        console.print(advice, soft_wrap=True)


def _verdict(compared: Comparison, a: str, b: str) -> str:
    verdict = compared.paired.verdict
    texts = {"ahead": f"{a} is ahead of {b}", "behind": f"{a} is behind {b}"}
    return texts.get(verdict, verdict)


def _advice(compared: Comparison) -> str:
    """How a smaller difference could be shown, where more draws of training images are to be had."""
    is_trained = any(seed is not None for seed in compared.seeds)
    paired = compared.paired
    if not is_trained or paired.same_training_images or len(compared.seeds) >= ADVISED_SEEDS:
        return ""
    if paired.verdict != "no difference shown" and len(compared.seeds) > 1:
        return ""
    return (
        f"{len(compared.seeds)} {'draw' if len(compared.seeds) == 1 else 'draws'} of training images "
        f"show large differences only: train both with --seeds 1-{ADVISED_SEEDS}"
    )


def _title(compared: Comparison) -> str:
    seeds = [str(seed) for seed in compared.seeds if seed is not None]
    run = compared.a.last if compared.a.last.shots else compared.b.last
    parts = [
        escape_control_characters(f"{run.dataset} with {run.model} ({run.encoder[:8]})"),
        shots_in_words(compared.shots) if compared.shots else "no shots",
        *([f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"] if seeds else []),
        f"{compared.paired.n_images:,} test images: accuracy, %",
    ]
    return ", ".join(parts)


def _lines(compared: Comparison, a: str, b: str) -> dict[str, str]:
    paired = compared.paired
    by_seed = ", ".join(f"{100 * one:+.1f}" for one in paired.seed_differences)
    return {
        a: f"{100 * paired.accuracy_a:.1f}",
        b if b != a else f"{b} (the other)": f"{100 * paired.accuracy_b:.1f}",
        "difference": f"{100 * paired.difference:+.1f}, 95 % interval "
        f"{100 * paired.low:+.1f} to {100 * paired.high:+.1f}",
        "by seed": by_seed,
        "images": f"{a} right more often on {paired.wins:,}, {b} on {paired.losses:,}, "
        f"equally often on {paired.ties:,}",
        "p": f"{paired.p_value:.2g}" if paired.p_value >= 1e-4 else "< 0.0001",
        "about": paired.scope,
    }
