import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_cache import FeatureStore
from feature_cache.exchange import LabelledFeatures, find_imported, write_npz

Command = Callable[..., Any]
CLASSES = ("blue", "green", "red")


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Callable[..., Path]:
    """Write 30 features of three classes, as wide as the tiny model's, as a `.npz`."""

    def write(**changes: Any) -> Path:
        random = np.random.default_rng(0)
        arrays = {
            "features": random.normal(size=(30, 16)).astype(np.float32),
            "labels": np.arange(30) % 3,
            "class_names": CLASSES,
            "text_features": random.normal(size=(3, 16)).astype(np.float32),
        }
        found: Any = arrays | changes
        features = LabelledFeatures.from_arrays(source="x", **found)
        return write_npz(tmp_path / "x.npz", features, overwrite=True)

    return write


@pytest.fixture(name="take")
def _take(cache: Command) -> Command:
    return partial(cache, "import", "--name", "colours")


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_import_says_what_it_found_and_what_it_took_for_granted(
    take: Command, archive: Callable[..., Path]
) -> None:
    outcome = take(archive())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("\n") == 1
    for words in (
        "30 features imported as features:colours",
        "30 rows of 3 classes, width 16, not normalised",
        "by content",
        "texts of the file",
        "logit scale 100 (CLIP's, since the file says none)",
    ):
        assert words in outcome.out


def test_the_same_import_again_writes_nothing(
    take: Command, archive: Callable[..., Path], root: Path
) -> None:
    take(archive())
    before = files(root)
    told = json.loads(take(archive(), "--json").out)
    assert (told["imported"], told["prompts_imported"], told["images"]) == (0, 0, 30)
    assert files(root) == before


def test_splits_and_the_scale_of_the_file_are_kept(
    take: Command, archive: Callable[..., Path]
) -> None:
    splits = ["train"] * 20 + ["test"] * 10
    told = json.loads(take(archive(splits=splits, logit_scale=7.5), "--json").out)
    assert told["splits"] == {"train": 20, "test": 10}
    assert (told["splits_from"], told["logit_scale"]) == ("the file", 7.5)
    assert told["logit_scale_from"] == "the file"


def test_a_text_model_encodes_the_classes_in_every_template(
    take: Command, archive: Callable[..., Path], root: Path, tiny_model: str
) -> None:
    templates = ("--template", "a {}.", "--template", "the {}.")
    outcome = take(archive(text_features=None), "--text-model", tiny_model, *templates, "--json")
    told = json.loads(outcome.out)
    assert (told["text_from"], told["logit_scale_from"]) == (tiny_model, tiny_model)
    found = find_imported(root, "colours")
    assert found.templates == ("a {}.", "the {}.")
    # A new CLIP's logit scale is 1 / 0.07.
    assert found.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    store = FeatureStore(root, found.encoder)
    assert (
        store.missing_prompts([f"{the} {each}." for the in ("a", "the") for each in CLASSES]) == []
    )


def test_the_bias_of_a_sigmoid_model_is_kept(
    take: Command, archive: Callable[..., Path], root: Path, tiny_sigmoid_model: str
) -> None:
    told = take(archive(logit_scale=7.5, logit_bias=-2.5))
    assert "logit scale 7.5 (the file), logit bias -2.5" in told.out
    assert find_imported(root, "colours").logit_bias == -2.5
    named = ("--name", "sigmoid", "--text-model", tiny_sigmoid_model, "--json")
    assert json.loads(take(archive(text_features=None), *named).out)["logit_bias"] == -10.0
    assert find_imported(root, "sigmoid").logit_bias == -10.0


def test_a_text_model_of_another_width_is_refused(
    take: Command, archive: Callable[..., Path], root: Path, tiny_model: str
) -> None:
    path = archive(features=np.ones((30, 8), np.float32), text_features=None)
    outcome = take(path, "--text-model", tiny_model)
    assert (outcome.code, outcome.out) == (1, "")
    assert "16 wide, the image features 8" in outcome.err
    assert not root.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "digits"], "name of a dataset of images"),
        (["--name", "imagefolder-cats-01234567"], "name of a dataset of images"),
        (["--name", "My Colours"], "as 'my-colours'"),
        (["--array", "features"], "ROLE=NAME"),
        (["--array", "features=x"], "no array 'x'"),
        (["--template", "a {}."], "--text-model"),
        (["--text-model", "glyphs", "--template", "a photo"], "expected one {}"),
        (["--text-model", "glyph"], "'glyphs'"),
        (["--class-names", "/nowhere"], "/nowhere"),
        (["--labels", "/nowhere"], "leave it out"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_explained_and_nothing_is_written(
    take: Command, archive: Callable[..., Path], root: Path, arguments: list[str], words: str
) -> None:
    outcome = take(archive(), *arguments)
    assert outcome.code in {1, 2}
    assert outcome.out == ""
    assert words in outcome.err
    assert not root.exists()


def test_features_without_texts_are_refused_with_what_to_do(
    take: Command, archive: Callable[..., Path], root: Path
) -> None:
    outcome = take(archive(text_features=None))
    assert outcome.code == 1
    assert "--text-model" in outcome.err
    assert not root.exists()


def test_a_root_that_cannot_be_written_to_is_refused(
    take: Command, archive: Callable[..., Path], root: Path
) -> None:
    root.write_text("not a folder")
    outcome = take(archive())
    assert outcome.code == 1
    assert f"{root} is no folder; expected a folder" in outcome.err


def test_other_content_under_the_name_is_refused(
    take: Command, archive: Callable[..., Path]
) -> None:
    take(archive())
    outcome = take(archive(labels=np.arange(30)[::-1] % 3))
    assert outcome.code == 1
    assert "choose another --name" in outcome.err


def test_hostile_names_cannot_steer_a_terminal(take: Command, archive: Callable[..., Path]) -> None:
    take(archive(), "--label", "\x1b[2J")
    outcome = take(archive(class_names=["\x1b[31m", "b", "c"]))
    assert "\x1b" not in outcome.out + outcome.err


def test_features_with_their_own_texts_are_imported_without_torch(
    archive: Callable[..., Path], root: Path
) -> None:
    arguments = ["cache", "import", str(archive()), "--name", "x", "--root", str(root)]
    code = (
        "import sys\n"
        "from clip_adapter.cli.app import build\n"
        "build()(standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.stdout.splitlines()[-1] == "False"
