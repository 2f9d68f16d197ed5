"""The exported script classifies where nothing but numpy, Pillow and onnxruntime is installed."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from environments import link_distribution
from packaging.requirements import Requirement

from clip_adapter import export, load

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden"
CHAMPION = "champion:imagefolder-colours-87987479"


@pytest.fixture(scope="module", name="python")
def _python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's interpreter; packages are linked, so that no network is needed."""
    place = tmp_path_factory.mktemp("bare") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    for name in required("numpy", "pillow", "onnxruntime"):
        link_distribution(distribution(name), packages)
    return place / "bin" / "python"


def required(*names: str) -> set[str]:
    """The distributions with what they require, extras left out."""
    found: set[str] = set()
    todo = [*names]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        lines = map(Requirement, distribution(name).requires or [])
        todo += [
            line.name for line in lines if not line.marker or line.marker.evaluate({"extra": ""})
        ]
    return found


def test_the_script_gives_the_same_answers(python: Path, tmp_path: Path) -> None:
    root = shutil.copytree(GOLDEN / "store-2", tmp_path / "store")
    images = sorted((GOLDEN / "colours").rglob("*.png"))[::9]
    folder = tmp_path / "model"
    export(CHAMPION, folder, root=root, images=images)
    for name in ("torch", "clip_adapter", "open_clip", "scipy"):
        assert run(python, "-c", f"import {name}").returncode != 0
    done = run(python, str(folder / "classify.py"), *map(str, images))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(image) for image in images]
    classifier = load(CHAMPION, root=root)
    found = [[line["probabilities"][name] for name in classifier.class_names] for line in lines]
    assert np.abs(np.array(found) - classifier.predict_proba(images)).max() < 1e-4
    first = [next(iter(line["probabilities"])) for line in lines]
    assert first == classifier.predict(images).tolist()


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *arguments],
        cwd=python.parent,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
