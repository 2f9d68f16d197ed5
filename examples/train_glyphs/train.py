"""Train the built-in encoder anew: `python -m examples.train_glyphs.train --out FOLDER`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

from .bank import build_bank
from .evaluate import judge
from .fit import Settings, Step, fit
from .fonts import styles
from .render import Rendering
from .towers import load_towers, new_towers, read_config, save_towers


def main(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the weights and their configuration.")],
    seed: Annotated[int, typer.Option(help="Draws the first weights and every picture.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 256 drawings.")] = Settings.steps,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Render, train, examine on held-out fonts, save.

    The length is counted in steps, not in minutes, so that a seed means the same weights on a
    slow machine and on a fast one.
    """
    torch.set_num_threads(threads)
    config = read_config()
    image_size = config["vision_cfg"]["image_size"]
    model = new_towers(config, seed=seed)
    typer.echo("drawing the glyphs of all training fonts")
    bank = build_bank(styles(held_out=False))
    report = _progress(steps)
    fit(
        model, bank, Rendering(image_size), settings=Settings(steps=steps, seed=seed), report=report
    )
    weights = save_towers(model, out)
    typer.echo(f"wrote {weights} ({weights.stat().st_size:,} bytes)")
    for exam, accuracy in judge(load_towers(out), image_size).items():
        typer.echo(f"{exam}: {accuracy:.3f}")


def _progress(steps: int) -> Callable[[Step], None]:
    started = time.monotonic()

    def report(step: Step) -> None:
        if step.number % 100 == 0 or step.number == steps:
            seconds = time.monotonic() - started
            typer.echo(
                f"step {step.number}/{steps}  loss {step.loss:.3f}  "
                f"logit scale {step.logit_scale:.1f}  {seconds:.0f} s"
            )

    return report


if __name__ == "__main__":
    typer.run(main)
