"""The scripts of `examples/` run as they are and print what they promise."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = ("train_on_photos.py", "ask_about_runs.py", "use_champion.py")


@pytest.fixture(scope="module", name="desk")
def _desk(put_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of two classes, and new ones that nobody has sorted."""
    folder = tmp_path_factory.mktemp("desk")
    for class_name in ("red", "blue"):
        put_photos(folder / "photos", class_name, range(100))
        put_photos(folder / "new", "unsorted", range(200, 203), colour=class_name)
        (folder / "new" / "unsorted").rename(folder / "new" / f"from-{class_name}-camera")
    run("train_on_photos.py", "photos", "glyphs", cwd=folder)
    return folder


def run(script: str, *arguments: str, cwd: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_one_trains_on_photos_of_ones_own(desk: Path) -> None:
    summary, *runs = run("train_on_photos.py", "photos", "glyphs", cwd=desk)
    assert summary == "0 images encoded, 200 reused, 0 quarantined"
    assert len(runs) == 1 + 2 * 2 * 3
    assert {line.split()[0] for line in runs} == {"zero-shot", "gda", "clip-adapter"}
    assert all(line.endswith("%") for line in runs)


@pytest.mark.slow
def test_one_asks_about_the_runs(desk: Path) -> None:
    best, *confused = run("ask_about_runs.py", "clip-adapter-store", cwd=desk)
    assert best.startswith("photos with ")
    assert " with glyphs: " in best
    assert best.endswith("%")
    assert confused[0].partition(" images of ")[2] in {"red as blue", "blue as red"}
    assert run("ask_about_runs.py", cwd=desk) == [best, *confused]


@pytest.mark.slow
def test_one_classifies_new_photos_with_the_champion(desk: Path) -> None:
    decision, *classified = run("use_champion.py", "photos", "new", "glyphs", cwd=desk)
    assert decision.startswith("gda at 4 shots, seed 1: promoted")
    assert len(classified) == 6
    right = [line for line in classified if line.rpartition(": ")[2] in line.split("/")[1]]
    assert len(right) == 6


@pytest.mark.slow
def test_the_notebook_shows_the_new_photos_with_their_classes(desk: Path) -> None:
    """Its cells in one script; the value of the last is what a notebook displays."""
    notebook = json.loads((EXAMPLES / "classify_photos.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(len(cell.splitlines()) for cell in cells) <= 10
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    script = "\n".join(cells).replace("MODEL = None", "MODEL = 'glyphs'")
    (desk / "new").rename(desk / "new photos")
    (desk / "cells.py").write_text(f"{script}\nprint(predictions._repr_html_())\n")
    page = "\n".join(run(str(desk / "cells.py"), cwd=desk))
    assert page.count("<img ") == 6
    assert page.count("<b>red</b>") == page.count("<b>blue</b>") == 3


def test_the_scripts_are_short_and_all_of_them_are_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"__init__.py", *SCRIPTS}
    assert all(len((EXAMPLES / name).read_text().splitlines()) < 40 for name in SCRIPTS)
