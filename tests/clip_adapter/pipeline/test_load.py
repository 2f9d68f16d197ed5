"""What was trained is loaded from a file, a champion or a run, and classifies images."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load as arrays_of
from safetensors.numpy import save

import clip_adapter
from clip_adapter.errors import (
    DataError,
    EncoderError,
    UnknownNameError,
    UnreadableImageError,
)
from clip_adapter.methods import SavedClassifier, encode_classifier, load_classifier
from clip_adapter.methods.saved_classifier import KEY
from clip_adapter.pipeline.classifier_metadata import _licence
from clip_adapter.pipeline.dataset_rewrite import rename_dataset
from clip_adapter.pipeline.load import ImageClassifier, load
from clip_adapter.runs import PromotionStore, RunStoreError, query
from feature_cache import FeatureStore


@pytest.fixture(scope="session")
def digit_files(trained_digits: Path) -> list[Path]:
    return sorted((trained_digits / "images" / "digits").rglob("*.png"))[::60]


@pytest.fixture(scope="session")
def champion(trained_digits: Path) -> ImageClassifier:
    return load("champion:digits", root=trained_digits)


@pytest.fixture(scope="session")
def champion_file(trained_digits: Path) -> Path:
    (file,) = (trained_digits / "champions" / "digits").glob("*.safetensors")
    return file


@pytest.fixture
def changed(champion_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the champion's file with other entries in its metadata."""

    def write(**entries: Any) -> Path:
        saved = load_classifier(champion_file)
        assert saved.metadata is not None
        encoder = saved.metadata.encoder.model_copy(update=entries)
        other = saved.metadata.model_copy(update={"encoder": encoder})
        path = tmp_path / "other.safetensors"
        path.write_bytes(encode_classifier(replace(saved, metadata=other)))
        return path

    return write


def test_paths_images_pixels_and_features_get_the_same_probabilities(
    champion: ImageClassifier, digit_files: list[Path]
) -> None:
    by_path = champion.predict_proba(digit_files)
    pictures = [Image.open(path).convert("RGB") for path in digit_files]
    for images in (
        list(map(str, digit_files)),
        pictures,
        [np.asarray(each) for each in pictures],
        champion.embed(digit_files),
    ):
        np.testing.assert_array_equal(champion.predict_proba(images), by_path)
    assert by_path.shape == (len(digit_files), 10)
    np.testing.assert_allclose(by_path.sum(axis=1), 1, rtol=1e-5)


def test_it_predicts_the_class_of_most_digits(
    champion: ImageClassifier, digit_files: list[Path]
) -> None:
    assert champion.score(digit_files, [path.parent.name for path in digit_files]) > 0.75


def test_a_single_image_is_a_sequence_of_one(
    champion: ImageClassifier, digit_files: list[Path]
) -> None:
    assert champion.predict(digit_files[0]).shape == (1,)
    assert champion.predict(Image.open(digit_files[0])).shape == (1,)
    assert champion.predict_proba([]).shape == (0, 10)


def test_the_features_are_those_of_training(
    champion: ImageClassifier, trained_digits: Path, digit_files: list[Path]
) -> None:
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in digit_files]
    stored = FeatureStore(trained_digits, champion.saved.encoder).read_images(digests)
    np.testing.assert_allclose(champion.embed(digit_files), stored, rtol=0, atol=1e-5)


def test_the_temperature_is_that_of_the_run(
    trained_digits: Path, champion: ImageClassifier
) -> None:
    metadata = champion.saved.metadata
    assert metadata is not None
    rows = query(
        trained_digits,
        "SELECT value FROM metrics JOIN runs USING (run_id) "
        "WHERE fingerprint = $run AND split = 'test' AND name = 'temperature'",
        {"run": metadata.run_fingerprint},
    ).to_pylist()
    assert [row["value"] for row in rows] == [metadata.temperature]


def test_file_and_champion_and_run_are_one_classifier(
    champion: ImageClassifier, champion_file: Path, trained_digits: Path, digit_files: list[Path]
) -> None:
    features = champion.embed(digit_files)
    (row,) = query(trained_digits, "SELECT run_id FROM champion").to_pylist()
    for other in (load(champion_file), load(f"run:{row['run_id'][:9]}", root=trained_digits)):
        np.testing.assert_array_equal(
            other.predict_proba(features), champion.predict_proba(features)
        )
        assert other.class_names == champion.class_names


@pytest.mark.parametrize("method", ["zero-shot", "tip-adapter"])
def test_a_run_is_fitted_again_as_it_was(trained_digits: Path, method: str) -> None:
    asked = {"method": method}
    found = query(trained_digits, "SELECT run_id FROM runs WHERE method = $method", asked)
    run_id = found["run_id"][0].as_py()
    classifier = load(f"run:{run_id}", root=trained_digits)
    assert classifier.saved.method == method
    assert classifier.saved.metadata is not None
    recorded = (
        "SELECT value FROM metrics WHERE run_id = $id AND split = 'test' AND name = 'accuracy'"
    )
    (accuracy,) = query(trained_digits, recorded, {"id": run_id})["value"].to_pylist()
    assert classifier.saved.metadata.scores[0].value == accuracy


@pytest.mark.parametrize("study", [None, "output-activation"])
def test_a_run_whose_length_was_chosen_is_fitted_to_that_length(
    trained_digits: Path, tmp_path: Path, study: str | None
) -> None:
    root = shutil.copytree(trained_digits, tmp_path / "store")
    options: dict[str, Any] = {"shots": [4], "seeds": [1], "selection": "held-out-shots"}
    if study is None:  # the request says which settings were asked for
        settings = {"clip-adapter": {"recipe": "fast"}}
        clip_adapter.train(
            "digits", "glyphs", methods=["clip-adapter"], settings=settings, root=root, **options
        )
    else:  # a study does not: what the run records says it
        clip_adapter.reproduce(study, "digits", "glyphs", recipe="fast", root=root, **options)
    chosen = "SELECT run_id, hyperparameters FROM runs WHERE method = 'clip-adapter'"
    lengths = {
        run["run_id"]: float(dict(run["hyperparameters"])["length"])
        for run in query(root, chosen).to_pylist()
    }
    run_id = min(lengths, key=lengths.__getitem__)
    classifier = load(f"run:{run_id}", root=root)
    assert classifier.saved.settings["length"] == lengths[run_id]
    assert study is None or lengths[run_id] < 1  # else all epochs would do as well
    recorded = (
        "SELECT value FROM metrics WHERE run_id = $id AND split = 'test' AND name = 'accuracy'"
    )
    (accuracy,) = query(root, recorded, {"id": run_id})["value"].to_pylist()
    assert classifier.saved.metadata is not None
    assert classifier.saved.metadata.scores[0].value == accuracy


@pytest.fixture
def fitted_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every fitted linear classifier name the class after the right one."""
    monkeypatch.setattr(
        "clip_adapter.pipeline.refit.fit_method",
        lambda method, tasks, **_: [
            replace(
                fitted,
                classifier=replace(
                    fitted.classifier, weight=np.roll(fitted.classifier.weight, 1, axis=0)
                ),
            )
            for fitted in method.fit(tasks)
        ],
    )


@pytest.mark.usefixtures("fitted_otherwise")
def test_a_run_of_other_code_that_comes_out_otherwise_is_refused(
    trained_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = query(trained_digits, "SELECT run_id FROM runs WHERE method = 'gda'")["run_id"][0]
    monkeypatch.setattr("clip_adapter.pipeline.plan.digest_code", lambda _: "other code")
    with pytest.raises(DataError, match="predicts another class than it did"):
        load(f"run:{run_id}", root=trained_digits)


@pytest.mark.usefixtures("fitted_otherwise")
def test_a_run_of_the_same_code_that_comes_out_otherwise_is_measured_again(
    trained_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = query(trained_digits, "SELECT run_id FROM runs WHERE method = 'gda'")["run_id"][0]
    metadata = load(f"run:{run_id}", root=trained_digits).saved.metadata
    assert metadata is not None
    assert metadata.scores[0].value < 0.2
    assert "its accuracy is measured again" in capsys.readouterr().err


def test_a_champion_of_an_earlier_version_gets_its_metadata_from_its_run(
    trained_digits: Path, champion: ImageClassifier, tmp_path: Path
) -> None:
    """Its file holds neither model nor temperature."""
    root = tmp_path / "store"
    shutil.copytree(trained_digits, root)
    shutil.rmtree(root / "champions")
    shutil.rmtree(root / "runs" / "promotions")
    content = encode_classifier(replace(champion.saved, metadata=None))
    (record,) = PromotionStore(trained_digits).history("digits")
    digest = hashlib.sha256(content).hexdigest()
    PromotionStore(root).append(replace(record, classifier_sha256=digest), content=content)
    found = load("champion:digits", root=root)
    assert found.saved.metadata == champion.saved.metadata


def test_a_champion_of_an_earlier_version_keeps_the_options_of_its_encoder(
    trained_digits: Path, tmp_path: Path, digit_files: list[Path]
) -> None:
    root = tmp_path / "store"
    images = trained_digits / "images" / "digits"
    asked: Any = {"methods": ["gda"], "shots": [4], "seeds": [1], "root": root, "name": "mine"}
    dataset = f"imagefolder:{images}"
    clip_adapter.train(dataset, "glyphs", resize="squash", promote=True, **asked)
    whole = load("champion:mine", root=root)
    content = encode_classifier(replace(whole.saved, metadata=None))
    (record,) = PromotionStore(root).history("mine")
    shutil.rmtree(root / "champions")
    shutil.rmtree(root / "runs" / "promotions")
    digest = hashlib.sha256(content).hexdigest()
    PromotionStore(root).append(replace(record, classifier_sha256=digest), content=content)
    found = load("champion:mine", root=root)
    np.testing.assert_array_equal(
        found.predict_proba(digit_files[:3]), whole.predict_proba(digit_files[:3])
    )
    rename_dataset(root, "mine", "theirs")
    assert load("champion:theirs", root=root).title == "gda of theirs"


@pytest.mark.parametrize(
    "model", ["local-dir:glyphs", "local-dir:openai", "ViT-B-32:/home/me/openai", "ViT-B-32:mine"]
)
def test_a_licence_is_not_guessed_from_the_name_of_a_folder(model: str) -> None:
    assert _licence(model) is None
    assert (_licence("glyphs"), _licence("ViT-B-32:openai")) == ("Apache-2.0", "MIT")


def test_a_file_of_an_earlier_version_needs_the_name_of_its_model(
    champion: ImageClassifier, digit_files: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "old.safetensors"
    path.write_bytes(encode_classifier(replace(champion.saved, metadata=None)))
    features = champion.embed(digit_files)
    np.testing.assert_array_equal(load(path).predict(features), champion.predict(features))
    with pytest.raises(EncoderError, match="does not name the model"):
        load(path).predict(digit_files)
    np.testing.assert_array_equal(
        load(path, model="glyphs").predict(digit_files), champion.predict(digit_files)
    )


def test_another_encoder_is_refused_with_both_names(
    champion_file: Path, digit_files: list[Path], tiny_model: str
) -> None:
    with pytest.raises(DataError, match=rf"of encoder glyphs \w{{12}}, not of {tiny_model}"):
        load(champion_file, model=tiny_model).predict(digit_files)


@pytest.mark.parametrize(
    "model",
    [
        "local-dir:/etc",
        "local-dir:.",
        "ViT-B-32:/etc/passwd",
        "ViT-B-32:../weights.bin",
        "../../glyphs",
        "hf-hub:../../etc",
        "hf-hub:a/b/c",
        "glyphs\n",
        "x" * 300,
    ],
)
def test_a_path_in_a_file_is_not_followed(
    changed: Callable[..., Path], digit_files: list[Path], model: str
) -> None:
    with pytest.raises(EncoderError, match="a path in a file is not followed"):
        load(changed(model=model)).predict(digit_files)


def test_a_file_in_the_working_folder_is_no_tag(
    changed: Callable[..., Path],
    digit_files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mine").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match="a path in a file is not followed"):
        load(changed(model="ViT-B-32:mine")).predict(digit_files)


def test_the_user_may_name_a_folder(
    changed: Callable[..., Path], digit_files: list[Path], tiny_model: str
) -> None:
    """It is loaded, and found to be another encoder."""
    with pytest.raises(DataError, match="fitted to features of encoder"):
        load(changed(model="local-dir:/etc"), model=tiny_model).predict(digit_files)


def test_imported_features_have_no_model(
    changed: Callable[..., Path], champion: ImageClassifier, digit_files: list[Path]
) -> None:
    classifier = load(changed(is_imported=True))
    features = champion.embed(digit_files)
    np.testing.assert_array_equal(classifier.predict(features), champion.predict(features))
    with pytest.raises(EncoderError, match="give features instead of images"):
        classifier.predict(digit_files)


def test_what_is_no_image_is_named(
    champion: ImageClassifier, tmp_path: Path, digit_files: list[Path]
) -> None:
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    with pytest.raises(UnreadableImageError, match=r"page\.jpg"):
        champion.predict([digit_files[0], tmp_path / "page.jpg"])
    with pytest.raises(UnreadableImageError, match="nowhere"):
        champion.predict(["nowhere.png"])
    with pytest.raises(DataError, match="image 1 is int"):
        champion.predict([digit_files[0], 3])
    with pytest.raises(DataError, match="neither features nor pixels"):
        champion.predict(np.zeros((2, 3, 4, 5)))
    with pytest.raises(DataError, match="the classifier was fitted to features"):
        champion.predict(np.ones((2, 7)))
    for useless in (np.nan, np.inf, 0.0, 1e300):
        with pytest.raises(DataError, match="1 of 2 features are zero, infinite or NaN"):
            champion.predict(np.stack([np.ones(champion.width), np.full(champion.width, useless)]))
    with pytest.raises(DataError, match="image 0 is uint8 of shape"):
        champion.predict(np.zeros((0, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="given as NoneType"):
        champion.predict(None)


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ("champion:digit", UnknownNameError, "did you mean 'digits'"),
        ("run:zz", UnknownNameError, "unknown run 'zz'"),
        ("run:", UnknownNameError, "unknown run"),
        ("digits", FileNotFoundError, "`champion:digits` is a champion"),
        ("nothing.safetensors", FileNotFoundError, "expected a .safetensors file"),
    ],
)
def test_what_is_not_there_is_said(
    trained_digits: Path, reference: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load(reference, root=trained_digits)


def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises((RunStoreError, UnknownNameError)):
        load("champion:digits", root=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_score_wants_one_known_label_an_image(
    champion: ImageClassifier, digit_files: list[Path]
) -> None:
    with pytest.raises(UnknownNameError, match="unknown class '1'"):
        champion.score(digit_files[:1], [1])  # type: ignore[list-item]  # as of another dataset
    with pytest.raises(DataError, match="1 labels for 2 images"):
        champion.score(digit_files[:2], ["one"])
    with pytest.raises(DataError, match="one or more"):
        champion.score([], [])


def test_loading_loads_no_encoder(champion_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "clip_adapter.encoders.load_encoder", lambda *_, **__: pytest.fail("loaded")
    )
    classifier = clip_adapter.load(champion_file)
    assert "glyphs" in repr(classifier)
    classifier.predict(np.ones((1, classifier.width), dtype=np.float32))


def _with_metadata(saved: SavedClassifier, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file of a classifier after a change of the JSON in its header."""
    content = encode_classifier(saved)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header["__metadata__"][KEY])
    change(metadata)
    header["__metadata__"][KEY] = json.dumps(metadata)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _set(*places: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(metadata: dict[str, Any]) -> None:
        for place in places[:-1]:
            metadata = metadata[place]
        metadata[places[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("metadata", "encoder", "model", value="x" * 10_000),
        _set("metadata", "encoder", "fingerprint", value="../" * 8),
        _set("metadata", "encoder", "logit_scale", value=-1),
        _set("metadata", "encoder", "logit_scale", value="100"),
        _set("metadata", "encoder", "fingerprint", value="0" * 64),
        _set("metadata", "temperature", value=0),
        _set("metadata", "temperature", value=float("nan")),
        _set("metadata", "temperature", value=float("inf")),
        _set("metadata", "templates", value=["{}"] * 5_000),
        _set("metadata", "templates", value=[["{}"]]),
        _set("metadata", "class_prompts", value=[["one prompt"]]),
        _set("metadata", "scores", value=[{"name": "accuracy"}]),
        _set("metadata", "trained_on", value="yesterday"),
        _set("metadata", value=[1]),
        _set("metadata", value="x"),
        _set("settings", value=[1]),
        _set("settings", value={"a": "x" * 200_000}),
        _set("method", value=3),
        _set("method", value="x" * 10_000),
        _set("encoder", value={"a": 1}),
        _set("values", "class_names", value=["x" * 10_000, *map(str, range(9))]),
        _set("values", "class_names", value=["one"] * 10),
        _set("values", "class_names", value=["one"]),
        _set("kind", value="os.system"),
        _set("format", value="1"),
        _set("logit_bias", value=1e999),
        _set("logit_bias", value=10**400),
        _set("logit_bias", value=True),
        _set("format", value=-5),
        _set("metadata", "temperature", value=1e-300),
        _set("settings", value={"a": float("nan")}),
        _set("method", value="\ud800"),
        _set("values", "class_names", value=["\ud800", *map(str, range(9))]),
        _set("values", "class_names", value=["", *map(str, range(9))]),
    ],
)
def test_hostile_metadata_is_one_clear_error(
    champion: ImageClassifier, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(_with_metadata(champion.saved, change))
    with pytest.raises(DataError, match=r"hostile\.safetensors") as caught:
        load(path)
    assert len(str(caught.value)) < 1_500


def _arrays(saved: SavedClassifier, **changed: np.ndarray) -> bytes:
    """The file of a classifier with other arrays."""
    content = encode_classifier(saved)
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return save({**arrays_of(content), **changed}, metadata=metadata)


@pytest.mark.parametrize(
    "shape", [(256,), (1, 256), (10, 256, 1), (0, 256), (256, 10), (10, 0), (9, 256)]
)
def test_arrays_that_do_not_fit_are_one_clear_error(
    champion: ImageClassifier, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(_arrays(champion.saved, weight=np.ones(shape, dtype=np.float32)))
    with pytest.raises(DataError, match=r"hostile\.safetensors"):
        load(path)
    path.write_bytes(_arrays(champion.saved, bias=np.ones(1, dtype=np.float32)))
    with pytest.raises(DataError, match="do not fit together: bias is"):
        load(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("labels", np.zeros(40, dtype=bool)),
        ("labels", np.zeros(40, dtype=np.float32)),
        ("labels", np.full(40, 10, dtype=np.int64)),
        ("labels", np.full(40, -1, dtype=np.int64)),
        ("labels", np.zeros(39, dtype=np.int64)),
        ("keys", np.full((40, 256), 3e38, dtype=np.float32)),
        ("keys", np.zeros((1, 256), dtype=np.float32)),
    ],
)
def test_a_hostile_cache_is_one_clear_error(
    trained_digits: Path, tmp_path: Path, name: str, values: np.ndarray
) -> None:
    asked = "SELECT run_id FROM runs WHERE method = 'tip-adapter'"
    run_id = query(trained_digits, asked)["run_id"][0].as_py()
    path = tmp_path / "hostile.safetensors"
    saved = load(f"run:{run_id}", root=trained_digits).saved
    path.write_bytes(_arrays(saved, **{name: values}))
    with pytest.raises(DataError, match=r"hostile\.safetensors"):
        load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02",
        b"\xff" * 8 + b"{}",
        (2**62).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b"[" * 100,
        (10**6).to_bytes(8, "little") + b"[" * 10**6,
        (33 * 2**20).to_bytes(8, "little") + b" " * (33 * 2**20),
        b"\x80\x04\x95" + b"pickle" * 10,
    ],
)
def test_hostile_headers_are_one_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"hostile\.safetensors"):
        load(path)
