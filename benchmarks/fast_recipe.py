"""`python -m benchmarks.fast_recipe FOLDER`: CLIP-Adapter's fast recipe beside the paper's.

FOLDER holds `.npz` files of real CLIP features, a data set each, with the arrays `class_names`,
`shots_K_features`, `shots_K_labels`, `val_features`, `val_labels` and `stand_in_prototypes`. Half of
the validation images choose the residual ratio; the other half is held back. No test image is read.
"""

import argparse
import os
import statistics
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clip_adapter.methods import ClipAdapter, FewShotTask
from clip_adapter.training import TrainingSettings, evaluate

SHOTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One recipe on one task.

    Attributes:
        chosen: accuracy on the images that chose the ratio.
        held_back: accuracy on the others.
        seconds: of the clock.
        cpu_seconds: of all threads, which a busy machine changes less.
    """

    chosen: float
    held_back: float
    seconds: float
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Train by both recipes in turn, and print accuracy and time side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    # Threads that wait for each other must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    pairs = []
    for path in sorted(options.folder.glob("*.npz")):
        arrays = _read(path)
        for shots in SHOTS:
            for seed in range(1, options.seeds + 1):
                pair = (
                    _train(arrays, "paper", shots=shots, seed=seed),
                    _train(arrays, "fast", shots=shots, seed=seed),
                )
                pairs.append(pair)
                _show(f"{path.stem} {shots} shots, seed {seed}", [pair])
    _show("all together", pairs)


def _read(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _train(
    arrays: dict[str, np.ndarray], recipe: Literal["paper", "fast"], *, shots: int, seed: int
) -> Trained:
    task = FewShotTask(
        train_features=arrays[f"shots_{shots}_features"],
        train_labels=arrays[f"shots_{shots}_labels"],
        val_features=arrays["val_features"][::2],
        val_labels=arrays["val_labels"][::2],
        prompt_features=arrays["stand_in_prototypes"][:, None],
        logit_scale=100.0,
        class_names=tuple(str(name) for name in arrays["class_names"]),
        shots=shots,
        seed=seed,
    )
    clock, cpu = time.perf_counter(), time.process_time()
    (fitted,) = ClipAdapter(training=TrainingSettings(recipe=recipe)).fit([task])
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    held_back = fitted.classifier.logits(arrays["val_features"][1::2])
    labels = arrays["val_labels"][1::2].astype(np.int64)
    return Trained(
        chosen=max(one.validation_accuracy for one in fitted.candidates),
        held_back=evaluate(held_back, labels)["accuracy"],
        seconds=clock,
        cpu_seconds=cpu,
    )


def _show(what: str, pairs: Sequence[tuple[Trained, Trained]]) -> None:
    paper, fast = zip(*pairs, strict=True)
    print(  # noqa: T201  # a program that prints
        f"{what}: validation {_mean(paper, 'chosen'):.1%} paper, {_mean(fast, 'chosen'):.1%} fast; "
        f"held back {_mean(paper, 'held_back'):.1%}, {_mean(fast, 'held_back'):.1%}; "
        f"{_total(paper, 'seconds'):.1f} s, {_total(fast, 'seconds'):.1f} s "
        f"({_total(fast, 'seconds') / _total(paper, 'seconds'):.2f}); "
        f"CPU {_total(paper, 'cpu_seconds'):.1f} s, {_total(fast, 'cpu_seconds'):.1f} s "
        f"({_total(fast, 'cpu_seconds') / _total(paper, 'cpu_seconds'):.2f})",
        flush=True,
    )


def _mean(trained: Sequence[Trained], name: str) -> float:
    return statistics.fmean(getattr(one, name) for one in trained)


def _total(trained: Sequence[Trained], name: str) -> float:
    return _mean(trained, name) * len(trained)


if __name__ == "__main__":
    main()
