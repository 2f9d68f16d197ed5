"""`python -m benchmarks [NAME ...] [--quick] [--out FILE]`: measure, show and record."""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from benchmarks.machine import describe_machine
from benchmarks.records import LATEST, Figures, merge_into, write_page

BENCHMARKS = {
    "load": "reading features for training, beside np.load",
    "extract": "the whole extraction, beside a bare forward loop and a plain script",
    "memory": "peak memory of an extraction, few images and many",
    "unchanged": "a second extraction of the same images",
    "train_grid": "90 adapters in one tensor program, beside a plain PyTorch loop",
    "orchestration": "a sweep as a flow against a running server, beside the same library calls",
    "scaling": "listing and looking, over many files and many runs",
    "results_database": "SQL over 100,000 runs, beside DuckDB by hand and MLflow's search",
    "imagenet_size": "one adapter over 16,000 images and 1,000 classes",
    "search": "the nearest of a million images, beside a plain matrix product",
    "linear_probe": "the search for C of the linear probe, beside scikit-learn as it comes",
    "dev_sets": "what chooses hyper-parameters, on sets of real features made for development",
    "coop_step": "a training step of CoOp, the text tower in the loop",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the named benchmarks, or all."""
    options = _parser().parse_args(arguments)
    # As the command and the deployments set it: threads that wait for each other must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
    console = Console(highlight=False)
    machine = describe_machine()
    console.print(Panel(escape("\n".join(machine.lines())), title="machine", expand=False))
    for name in options.names or BENCHMARKS:
        start = time.perf_counter()
        figures = _measure(name, quick=options.quick)
        console.rule(f"[bold]{name}[/], {time.perf_counter() - start:.0f} s", align="left")
        console.print(figures.about, style="dim")
        for line in figures.lines:
            console.print(line, soft_wrap=True)
        for headline, ratio in figures.headlines.items():
            console.print(f"[bold cyan]{headline} {ratio:.2f}[/]")
        merge_into(options.out, figures, machine)
        if figures.page:
            console.print(f"written to {escape(str(write_page(options.out, figures, machine)))}")
    console.print(f"\nwritten to {escape(str(options.out))}")


def _measure(name: str, *, quick: bool) -> Figures:
    # Not before the environment is set: torch reads it when it is imported.
    measure = getattr(import_module(f"benchmarks.{name}"), f"measure_{name}")
    with tempfile.TemporaryDirectory(prefix="clip-adapter-bench-") as place:
        figures: Figures = measure(Path(place), quick=quick)
    extent = "a first look, with --quick" if quick else "all of it"
    return replace(figures, details={**figures.details, "extent": extent})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    listed = "; ".join(f"{name}: {about}" for name, about in BENCHMARKS.items())
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS], help=f"all, or {listed}"
    )
    parser.add_argument("--quick", action="store_true", help="a first look: less of everything")
    parser.add_argument(
        "--out", type=Path, default=LATEST, help=f"where the figures go, else {LATEST.name}"
    )
    return parser


if __name__ == "__main__":
    main()
