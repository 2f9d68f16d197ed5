"""Training on features that were made elsewhere."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_cache.exchange import LabelledFeatures, write_npz

Command = Callable[..., Any]
SPLITS = ("train", "val", "test")


@pytest.fixture(name="colours")
def _colours(command: Command, tmp_path: Path, root: Path) -> Path:
    """Import 90 features, ten a class and split, that lie near their class's text."""
    random = np.random.default_rng(0)
    texts = random.normal(size=(3, 16)).astype(np.float32)
    labels = np.arange(90) % 3
    features = LabelledFeatures.from_arrays(
        source="x",
        features=texts[labels] + random.normal(size=(90, 16), scale=0.5).astype(np.float32),
        labels=labels,
        class_names=["blue", "green", "red"],
        splits=[SPLITS[row // 30] for row in range(90)],
        text_features=texts,
    )
    path = write_npz(tmp_path / "x.npz", features)
    command("cache", "import", path, "--name", "colours", "--label", "theirs", "--root", root)
    return path


@pytest.fixture(name="learn")
def _learn(command: Command, root: Path) -> Command:
    quick = ("--shots", "1,4", "--seeds", "1", "--set", "clip-adapter.epochs=2")
    return partial(command, "train", "--root", root, *quick)


@pytest.mark.usefixtures("colours")
def test_every_method_trains_on_imported_features_and_is_on_the_leaderboard(
    learn: Command,
) -> None:
    told = json.loads(learn("features:colours", "--json").out)
    assert (told["encoded"], told["reused"], told["runs_trained"]) == (0, 90, 5)
    rows = told["leaderboard"]
    assert {(row["dataset"], row["model"]) for row in rows} == {("colours", "theirs")}
    assert {row["method"] for row in rows} == {"zero-shot", "linear-probe", "clip-adapter"}
    # Each class lies around its own text, which is eight noises away from the others.
    assert min(row["accuracy_mean"] for row in rows if row["method"] == "zero-shot") == 1
    assert json.loads(learn("features:colours", "--json").out)["runs_on_record"] == 5


@pytest.mark.usefixtures("colours")
def test_imported_features_are_listed_by_the_name_to_train_on(command: Command, root: Path) -> None:
    lines = command("datasets", "--root", root).out.splitlines()
    (line,) = [line for line in lines if "colours" in line]
    assert "imported: features:colours" in line


@pytest.mark.usefixtures("colours")
def test_there_is_nothing_to_extract(command: Command, root: Path) -> None:
    outcome = command("extract", "features:colours", "--root", root)
    assert (outcome.code, outcome.err) == (0, "")
    assert "nothing to encode: all 90 features of features:colours were imported" in outcome.out
    told = json.loads(command("extract", "features:colours", "--root", root, "--json").out)
    assert (told["encoded"], told["reused"], told["model"]) == (0, 90, "theirs")


@pytest.mark.usefixtures("colours")
def test_no_model_is_the_default_of_features_made_elsewhere(command: Command, root: Path) -> None:
    outcome = command("cache", "why", "--dataset", "features:colours", "--root", root)
    assert outcome.code == 1
    assert "features:colours was encoded elsewhere" in outcome.err
    assert "--model" in outcome.err


@pytest.mark.usefixtures("colours")
def test_extracting_notices_features_that_are_lost(command: Command, root: Path) -> None:
    for path in root.glob("features/*/image/*.parquet"):
        path.unlink()
    outcome = command("extract", "features:colours", "--root", root)
    assert (outcome.code, outcome.out) == (1, "")
    assert "cache import PATH --name colours" in outcome.err


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["features:colour"], "did you mean 'colours'?"),
        (["features:../colours"], "nothing was imported as"),
        (["features:"], "nothing was imported as"),
        (["features:colours", "--model", "glyphs"], "--model can change nothing"),
        (["features:colours", "--resize", "squash"], "--resize can change nothing"),
        (["features:colours", "--images", "/nowhere"], "--images can change nothing"),
        (["features:colours", "--methods", "zero"], "'zero-shot'"),
        (["feature:colours"], "'features:NAME'"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_trained_is_explained(
    learn: Command, root: Path, arguments: list[str], words: str
) -> None:
    outcome = learn(*arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert words in outcome.err
    assert not (root / "runs").exists()


@pytest.mark.shared_data
def test_published_clip_features_are_trained_on(
    command: Command, learn: Command, root: Path
) -> None:
    folder = os.environ.get("CLIP_ADAPTER_TEST_DATA")
    path = Path(folder or "", "clip-vit-b-32", "oxford_flowers.npz")
    if folder is None or not path.is_file():
        pytest.skip("CLIP_ADAPTER_TEST_DATA names no folder with clip-vit-b-32/oxford_flowers.npz")
    # Its prototypes are class means moved by noise, to about the published zero-shot accuracy.
    named = ("train=shots_16_", "val=", "test=val_", "text_features=stand_in_prototypes")
    arrays = [word for each in named for word in ("--array", each)]
    told = command("cache", "import", path, "--name", "flowers", "--root", root, "--json", *arrays)
    assert json.loads(told.out)["splits"] == {"train": 1632, "test": 1633}
    methods = ("--methods", "zero-shot,clip-adapter", "--set", "clip-adapter.epochs=20")
    rows = json.loads(learn("features:flowers", *methods, "--json").out)["leaderboard"]
    accuracy = {(row["method"], row["shots"]): row["accuracy_mean"] for row in rows}
    assert accuracy["zero-shot", 0] == pytest.approx(0.67, abs=0.005)  # as it was made to be
    assert accuracy["clip-adapter", 4] > 0.85


def test_imported_features_keep_their_runs_under_another_name(
    colours: Path, learn: Command, command: Command, root: Path
) -> None:
    assert learn("features:colours").code == 0
    assert command("datasets", "rename", "features:colours", "hues", "--root", root).code == 0
    told = json.loads(learn("features:hues", "--json").out)
    assert (told["runs_trained"], told["runs_on_record"]) == (0, 5)
    again = command(
        "cache", "import", colours, "--name", "hues", "--label", "theirs", "--root", root
    )
    assert again.code == 0
    assert json.loads(learn("features:hues", "--json").out)["runs_trained"] == 0
    assert "features:colours" not in command("datasets", "--root", root).out
