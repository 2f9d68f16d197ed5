"""One sweep twice: as the flow, and as the library calls it consists of; each in its own process."""

import io
import shutil
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from clip_adapter.pipeline.extract import extract
from clip_adapter.pipeline.train import train
from flows.train_adapters import train_adapters

DATASET, MODEL = "digits", "glyphs"
RATIOS = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
SHOTS, SEEDS = [1, 2, 4, 8, 16], [1, 2, 3]
N_ADAPTERS = len(SHOTS) * len(SEEDS) * len(RATIOS)
SWEEP: dict[str, Any] = {
    "methods": ["clip-adapter"],
    "shots": SHOTS,
    "seeds": SEEDS,
    "settings": {"clip-adapter": {"residual_ratios": RATIOS}},
}
QUICK: dict[str, Any] = {**SWEEP, "settings": {"clip-adapter": {"epochs": 2}}}


def warm_up(root: Path) -> None:
    """Index the dataset and encode it, so that every feature is there."""
    with redirect_stderr(io.StringIO()):  # progress
        extract(DATASET, model=MODEL, root=root, data=root)


def run_flow(root: Path, *, quick: bool) -> float:
    """Seconds of the flow against the server that PREFECT_API_URL names, publishing included."""
    return _timed(root, quick=quick, orchestrated=True)


def call_library(root: Path, *, quick: bool) -> float:
    """Seconds of the same functions called one after the other."""
    return _timed(root, quick=quick, orchestrated=False)


def _timed(root: Path, *, quick: bool, orchestrated: bool) -> float:
    sweep = QUICK if quick else SWEEP
    start = time.perf_counter()
    with redirect_stderr(io.StringIO()):
        n_trained = _as_flow(root, sweep) if orchestrated else _as_library(root, sweep)
    seconds = time.perf_counter() - start
    if n_trained != len(SHOTS) * len(SEEDS):
        raise RuntimeError(f"trained {n_trained} runs, expected {len(SHOTS) * len(SEEDS)}")
    shutil.rmtree(root)
    return seconds


def _as_flow(root: Path, sweep: dict[str, Any]) -> int:
    trained: Any = train_adapters(DATASET, MODEL, root=str(root), data=str(root), **sweep)
    n_trained: int = trained.runs.n_trained
    return n_trained


def _as_library(root: Path, sweep: dict[str, Any]) -> int:
    return train(DATASET, model=MODEL, root=root, data=root, **sweep).runs.n_trained
