"""What a command says when its work is done."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from clip_adapter.cli.leaderboard import leaderboard_table
from clip_adapter.printable import printable
from clip_adapter.progress import Advance, bar
from clip_adapter.runs import query
from clip_adapter.shots import shots_in_words
from feature_cache import Location
from feature_cache.files import is_final


def watch(
    description: str, *, total: float, unit: str, quiet: bool = False
) -> AbstractContextManager[Advance]:
    """Show rate and time left on standard error, and nothing where it is no terminal.

    Args:
        description: What is being done.
        total: Units of work.
        unit: Of the rate.
        quiet: Show nothing: a program reads the answer.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return nullcontext(lambda _: None)
    return bar(description, total=total, unit=unit, console=console, transient=True)


def extraction_summary(encoded: Any) -> dict[str, Any]:
    """Numbers of an `extract-features` run."""
    dataset = encoded.dataset
    return {
        "dataset": dataset.name,
        "model": encoded.model,
        "encoder": encoded.encoder,
        "images": dataset.n_images,
        "encoded": encoded.n_encoded,
        "reused": encoded.n_reused,
        "prompts_encoded": encoded.n_prompts_encoded,
        "quarantined": dataset.n_quarantined,
        "leaked": dataset.n_leaked,
        "seconds": round(encoded.seconds, 3),
        "images_per_second": round(encoded.images_per_second, 1),
    }


def training_summary(trained: Any) -> dict[str, Any]:
    """Numbers of a `train-adapters` run."""
    return {
        **extraction_summary(trained.encoded),
        "sweep_id": trained.runs.sweep_id,
        "runs_trained": trained.runs.n_trained,
        "runs_on_record": trained.runs.n_reused,
        "seconds_train": round(trained.runs.seconds, 3),
        "up_to_date": trained.is_up_to_date,
        "promotion": trained.promotion and asdict(trained.promotion.record),
    }


def leaderboard_rows(root: Location, *, dataset: str, encoder: str) -> list[dict[str, Any]]:
    """The leaderboard of one dataset and encoder."""
    rows = query(root, "SELECT * FROM leaderboard").to_pylist()
    return [row for row in rows if row["dataset"] == dataset and row["encoder"] == encoder]


def stored_files(root: Path) -> list[Path]:
    """The files of a local store, folder by folder; what else lies below the root is not ours."""
    tops = [root / name for name in ("datasets", "features", "runs")]
    folders = sorted(folder for top in tops for folder in top.glob("**/"))
    return [path for folder in folders for path in sorted(folder.iterdir()) if is_final(path.name)]


def print_json(value: Any) -> None:
    """JSON on standard output, for programs."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201  # rich would wrap it


def show_extraction(console: Console, summary: dict[str, Any]) -> None:
    """The lines of an extraction: what was encoded, reused, set aside."""
    rate = f" ({summary['images_per_second']:,.0f} images/s)" if summary["encoded"] else ""
    console.print(
        f"[bold]{summary['encoded']:,} images encoded[/bold]{rate}, {summary['reused']:,} reused, "
        f"{summary['prompts_encoded']} prompts encoded, {summary['quarantined']} quarantined",
        soft_wrap=True,
    )
    if summary["leaked"]:
        console.print(
            f"[yellow]leak:[/yellow] {summary['leaked']} images occur in both train and test"
        )


def show_leaderboard(console: Console, rows: list[dict[str, Any]]) -> None:
    """The leaderboard, if there is anything on it."""
    if rows:
        console.print()
        console.print(leaderboard_table(rows))


def show_promotion(console: Console, promotion: dict[str, Any] | None) -> None:
    """What was decided about the champion, if anything was."""
    if promotion:
        shots = shots_in_words(promotion["shots"])
        who = f"{promotion['method']} at {shots}, seed {promotion['seed']}"
        console.print()
        console.print(
            printable(f"{promotion['decision']}: {who}; {promotion['reason']}"),
            markup=False,
            soft_wrap=True,
        )
