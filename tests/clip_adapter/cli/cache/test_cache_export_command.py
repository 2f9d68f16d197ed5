import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_cache import FeatureStore
from feature_cache.exchange import (
    LabelledFeatures,
    detect_format,
    import_features,
    read_features,
    texts_of_file,
)

Command = Callable[..., Any]
NAMES = {"safetensors": "x.safetensors", "npz": "x.npz", "npy": "x.npy", "clip-retrieval": "x"}


@pytest.fixture(name="colours")
def _colours(root: Path) -> LabelledFeatures:
    """Nine imported features of three classes, with two training views each."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(9, 4)).astype(np.float32)
    features = LabelledFeatures.from_arrays(
        source="colours",
        features=matrix,
        labels=np.arange(9) % 3,
        class_names=["red", "green", "blue"],
        splits=["train", "val", "test"] * 3,
        image_sha256=random.integers(0, 256, (9, 32), dtype=np.uint8),
        paths=[f"{row}.jpg" for row in range(9)],
        text_features=random.normal(size=(3, 4)).astype(np.float32),
        logit_scale=12.5,
        logit_bias=-3.5,
        views=np.stack([matrix + 1, matrix + 2]),
    )
    import_features(root, features, name="colours", label="theirs", texts=texts_of_file(features))
    return features


@pytest.fixture(name="export")
def _export(cache: Command) -> Command:
    return partial(cache, "export", "--dataset", "features:colours")


def test_a_safetensors_file_gets_everything_in_all_views(
    export: Command, colours: LabelledFeatures, tmp_path: Path
) -> None:
    outcome = export("--to", tmp_path / "x.safetensors")
    assert (outcome.code, outcome.err, outcome.out.count("\n")) == (0, "", 1)
    assert "9 rows in 3 views of 3 classes, width 4, float32, encoded with theirs" in outcome.out
    found = read_features(tmp_path / "x.safetensors")
    for name, value in vars(colours).items():
        if name != "description":
            np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert found.description["dataset"] == "colours"


@pytest.mark.parametrize("form", NAMES)
def test_the_suffix_says_the_format(
    export: Command, colours: LabelledFeatures, tmp_path: Path, form: str
) -> None:
    told = json.loads(export("--to", tmp_path / NAMES[form], "--json").out)
    assert (told["format"], told["rows"]) == (form, 9)
    assert (told["logit_scale"], told["logit_bias"]) == (12.5, -3.5)
    assert detect_format(tmp_path / NAMES[form]) == form
    found = read_features(tmp_path / NAMES[form])
    assert found.image_sha256 == colours.image_sha256
    assert found.splits == colours.splits


@pytest.mark.usefixtures("colours")
def test_a_format_may_be_said_instead(export: Command, tmp_path: Path) -> None:
    export("--to", tmp_path / "x.features", "--format", "npz")
    assert detect_format(tmp_path / "x.features") == "npz"


def test_clip_retrieval_keeps_every_bit_when_told(
    export: Command, colours: LabelledFeatures, tmp_path: Path
) -> None:
    export("--to", tmp_path / "x", "--keep-precision")
    found = read_features(tmp_path / "x")
    np.testing.assert_array_equal(found.features, colours.features)


@pytest.mark.usefixtures("colours")
def test_nothing_is_replaced_unasked(export: Command, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"mine")
    outcome = export("--to", path)
    assert (outcome.code, path.read_bytes()) == (1, b"mine")
    assert export("--to", path, "--overwrite").code == 0
    assert detect_format(path) == "npz"


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "x.csv"], "expected .safetensors"),
        (["--to", "x.npz", "--keep-precision"], "npz keeps every bit"),
        (["--to", "x.npz", "--model", "their"], "did you mean 'theirs'?"),
        (["--to", "x.npz", "--encoder", "zz"], "no such encoder has all 9 images"),
        (["--to", "x.npz", "--dataset", "colour"], "did you mean 'colours'?"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_exported_is_explained(
    export: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = export(*arguments)
    assert outcome.code in {1, 2}
    assert words in outcome.err
    assert [path for path in tmp_path.iterdir() if path.name.startswith("x")] == []


def test_competing_encoders_are_listed_and_chosen_by_their_digits(
    export: Command, colours: LabelledFeatures, root: Path, tmp_path: Path
) -> None:
    other = FeatureStore(root, "0123456789abcdef")
    other.append_images(colours.image_sha256, np.ones((9, 4), np.float32))
    outcome = export("--to", tmp_path / "x.npz")
    assert outcome.code == 1
    assert "0123456789ab (never named" in outcome.err
    assert "(theirs, float32)" in outcome.err
    outcome = export("--to", tmp_path / "x.npz", "--encoder", "0123")
    assert "the store has no texts of it" in outcome.out
    found = read_features(tmp_path / "x.npz")
    assert (found.text_features, found.features.min()) == (None, 1)


def test_features_that_went_out_and_came_back_train_to_the_same_accuracies(
    command: Command, train: Command, cache: Command, root: Path, tmp_path: Path
) -> None:
    there = json.loads(train("--json").out)
    told = cache("export", "--dataset", there["dataset"], "--to", tmp_path / "x.npz", "--json")
    # A new CLIP's logit scale is 1 / 0.07.
    assert json.loads(told.out)["logit_scale"] == pytest.approx(1 / 0.07, rel=1e-5)
    cache("import", tmp_path / "x.npz", "--name", "back")
    quick = ("--shots", "1", "--seeds", "1,2", "--set", "clip-adapter.epochs=2")
    back = json.loads(command("train", "features:back", "--root", root, *quick, "--json").out)
    one, other = (
        {(row["method"], row["shots"]): row["accuracy_mean"] for row in each["leaderboard"]}
        for each in (there, back)
    )
    assert len(one) == 3
    assert one == other


@pytest.fixture(name="export_photos")
def _export_photos(cache: Command, root: Path, tmp_path: Path) -> Callable[[], Any]:
    """Export the photos, and return the text features of the file and the store they came from."""

    def run() -> Any:
        cache("export", "--dataset", "photos", "--to", tmp_path / "x.npz", "--overwrite")
        (encoder,) = [path.name for path in (root / "features").iterdir()]
        return read_features(tmp_path / "x.npz").text_features, FeatureStore(root, encoder)

    return run


def test_texts_are_those_of_the_prompts_that_an_extraction_used(
    extract: Command, export_photos: Callable[[], Any], photos: Path
) -> None:
    extract()  # stores the texts of the usual prompts
    (photos / "dataset.yaml").write_text("templates: ['zzz {} pic']\n", encoding="utf-8")
    extract()
    found, store = export_photos()
    prompts = ["zzz blue pic", "zzz green pic", "zzz red pic"]
    np.testing.assert_array_equal(found, store.read_prompts(prompts))


def test_texts_of_classes_with_prompts_of_their_own_are_those_it_was_trained_with(
    train: Command, export_photos: Callable[[], Any], photos: Path
) -> None:
    told = "class_names:\n  blue: {name: navy, prompts: [the sea., 'a {} wall.']}\n"
    (photos / "dataset.yaml").write_text(told, encoding="utf-8")
    train()
    found, store = export_photos()
    own, green = (
        store.read_prompts(each).astype(np.float32)
        for each in (["the sea.", "a navy wall."], ["a photo of a green."])
    )
    directions = own / np.linalg.norm(own, axis=1, keepdims=True)
    mean = directions.mean(axis=0)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), rtol=1e-5)
    np.testing.assert_allclose(found[1], green[0] / np.linalg.norm(green[0]), rtol=1e-5)


def test_texts_of_a_store_whose_requests_tell_no_prompts_are_those_of_its_last_run(
    train: Command, export_photos: Callable[[], Any], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "class_names:\n  blue: {prompts: [the sea.]}\ntemplates: ['zzz {} pic']\n"
    (photos / "dataset.yaml").write_text(told, encoding="utf-8")
    monkeypatch.setattr("clip_adapter.pipeline.request_log._prompts_of", lambda _dataset: {})
    train()
    found, store = export_photos()
    prompts = ["the sea.", "zzz green pic", "zzz red pic"]
    np.testing.assert_array_equal(found, store.read_prompts(prompts))
