"""The EuroSAT protocol, 90 adapters, in one tensor program beside a plain loop."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.grid_sides import (
    RATIOS,
    SEEDS,
    Logits,
    Trained,
    sizes_of_grid,
    torch_as_it_comes,
    train_plainly,
    train_stacked,
)
from benchmarks.machine import describe_machine
from benchmarks.processes import call_alone
from benchmarks.records import Figures, Value
from benchmarks.rounds import Spread, ratio_of, take_turns

ABOUT = (
    "seconds of training the EuroSAT protocol's 90 CLIP-Adapters (shots 1, 2, 4, 8, 16, 3 seeds, 6 "
    "ratios, 10 classes, batches of 32, the paper's epochs) on random features with the geometry of "
    "CLIP's: a plain PyTorch loop (module, autograd, torch.optim.SGD, one after the other, with one "
    "thread or torch's default of all, whichever is faster) over train_adapters, fp32; in processes of "
    "their own, taking turns, the loop with a third of the adapters a turn, its seconds times three"
)
WIDTHS = (1024, 512)
PROBE_SHARE = 0.04
QUICK_SHARE = 0.1


def measure_train_grid(_: Path, *, quick: bool) -> Figures:
    """Compare the two at both widths, and what they leave behind."""
    headlines: dict[str, float] = {}
    details: dict[str, Value] = {}
    lines: list[str] = []
    for width in WIDTHS:
        ratio, figures = _compare(width, share=QUICK_SHARE if quick else 1.0)
        headlines[f"train_grid_d{width}_over_plain_loop"] = ratio.median
        details |= {f"{name}_d{width}": value for name, value in figures.items()}
        lines += _lines(width, ratio, figures)
    return Figures(
        name="train_grid",
        about=ABOUT,
        headlines={} if quick else headlines,
        details=details,
        lines=tuple(lines),
    )


def _compare(width: int, *, share: float) -> tuple[Spread, dict[str, Value]]:
    threads = _faster_threads(width)
    plain: list[Trained] = []
    stacked: list[Trained] = []

    def loop(number: int) -> float:
        plain.append(_plain(width, seed=SEEDS[number], threads=threads, share=share))
        return plain[-1].seconds * len(SEEDS)

    def stack(_: int) -> float:
        stacked.append(call_alone(train_stacked, width=width, share=share).answer)
        return stacked[-1].seconds

    seconds = take_turns({"loop": loop, "stack": stack}, rounds=len(SEEDS))
    ratio = ratio_of(seconds["loop"], seconds["stack"])
    expected = {key: scores for each in plain for key, scores in each.scores.items()}
    figures: dict[str, Value] = {
        "loop_over_stack": ratio.rounded(),
        "loop_seconds": Spread.of(seconds["loop"]).rounded(),
        "stack_seconds": Spread.of(seconds["stack"]).rounded(),
        "loop_threads": threads,
        **_arithmetic(width, share, stacked),
        **_differences(stacked[-1].scores, expected),
    }
    return ratio, figures


def _plain(width: int, *, seed: int, threads: int, share: float) -> Trained:
    with torch_as_it_comes():
        return call_alone(
            train_plainly, width=width, seed=seed, threads=threads, share=share
        ).answer


def _faster_threads(width: int) -> int:
    """The number of threads the plain loop is faster with, one or all."""
    choices = {1, describe_machine().cores}
    probe = partial(_plain, width, seed=SEEDS[0], share=PROBE_SHARE)
    return min(choices, key=lambda threads: probe(threads=threads).seconds)


def _arithmetic(width: int, share: float, stacked: list[Trained]) -> dict[str, Value]:
    """Needed operations, and the fraction of the machine's rate at which they were done."""
    flops = sum(
        size.flops_needed() * len(SEEDS) * len(RATIOS) for size in sizes_of_grid(width, share=share)
    )
    fractions = [flops / each.seconds / 1e9 / each.gigaflops for each in stacked]
    return {
        "stack_teraflop_needed": float(f"{flops / 1e12:.4g}"),
        "machine_gigaflops": Spread.of([each.gigaflops for each in stacked]).rounded(),
        "stack_fraction_of_machine": Spread.of(fractions).rounded(),
    }


def _differences(found: Logits, expected: Logits) -> dict[str, Value]:
    """Over all 90 adapters' test logits, which are up to 100."""
    gaps = [float(np.abs(found[key] - scores).max()) for key, scores in expected.items()]
    same = [(found[key].argmax(1) == scores.argmax(1)).mean() for key, scores in expected.items()]
    return {
        "adapters_compared": len(gaps),
        "largest_logit_difference": float(f"{max(gaps):.2g}"),
        "same_predictions": float(np.mean(same)),
    }


def _lines(width: int, ratio: Spread, figures: dict[str, Value]) -> Iterator[str]:
    loop, stack = (figures[f"{side}_seconds"] for side in ("loop", "stack"))
    fraction, rate = figures["stack_fraction_of_machine"], figures["machine_gigaflops"]
    yield f"[bold]width {width}[/]: {ratio} times as fast as the plain loop"
    if isinstance(loop, dict) and isinstance(stack, dict):
        yield f"  90 adapters: {stack['median']:.1f} s, the loop {loop['median']:.1f} s"
    if isinstance(fraction, dict) and isinstance(rate, dict):
        yield (
            f"  {figures['stack_teraflop_needed']} teraflop needed, at {fraction['median']:.0%} of "
            f"this machine's {rate['median']:.0f} gigaflop/s in large products"
        )
    yield (
        f"  logits differ by {figures['largest_logit_difference']} at most, "
        f"{figures['same_predictions']:.2%} of predictions are the same"
    )
