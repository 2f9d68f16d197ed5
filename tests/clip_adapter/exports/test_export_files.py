"""Names without paths, and the settings that other programs read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.encoders.preprocessing import Preprocessing
from clip_adapter.errors import EncoderError, UnavailableError
from clip_adapter.exports import (
    check_packages,
    foreign_file,
    is_export,
    public_classifier,
    public_name,
    write_files,
)
from clip_adapter.images import Geometry
from clip_adapter.methods import SavedClassifier, load_classifier
from clip_adapter.pipeline.load import load

HALF = (0.5, 0.5, 0.5)


def preprocessing(**geometry: object) -> Preprocessing:
    values = {"size": (24, 24), **geometry}
    return Preprocessing(geometry=Geometry(**values), mean=HALF, std=HALF)  # type: ignore[arg-type]  # as given


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("glyphs", "glyphs"),
        ("ViT-B-32-quickgelu:openai", "ViT-B-32-quickgelu:openai"),
        ("hf-hub:org/model", "hf-hub:org/model"),
        ("local-dir:/home/me/glyphs/", "a local model (glyphs)"),
        ("local-dir:~/models/tiny", "a local model (tiny)"),
        ("local-dir:C:\\Users\\me\\tiny", "a local model (tiny)"),
        ("local-dir:/", "a local model"),
        ("local-dir:glyphs", "a local model (glyphs)"),
        ("ViT-B-32:/home/me/openai", "a local model (ViT-B-32:openai)"),
        ("ViT-B-32:../weights.pt", "a local model (ViT-B-32:weights.pt)"),
        ("ViT-B-32:weights.pt", "a local model (ViT-B-32:weights.pt)"),
        ("/home/me/features of mine", "a local model (features of mine)"),
        ("features of mine", "features of mine"),
    ],
)
def test_a_model_is_named_without_a_path(model: str, shown: str) -> None:
    assert public_name(model) == shown
    assert public_name(shown) == shown  # of a folder that is exported again


def test_the_files_can_be_read_back_and_tell_no_path(
    make_classifier: Callable[..., SavedClassifier],
    make_metadata: Callable[..., object],
    tmp_path: Path,
) -> None:
    described = make_metadata(encoder={"model": f"local-dir:{tmp_path}/clip"})
    saved = public_classifier(make_classifier("adapter", metadata=described))
    write_files(
        tmp_path, saved, preprocessing=preprocessing(), card="a card", checked={"n_images": 3}
    )
    loaded = load_classifier(tmp_path / "model.safetensors")
    assert loaded.metadata is not None
    assert loaded.metadata.encoder.model == "a local model (clip)"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "a cat", "1": "a dog", "2": "a hen"}
    assert (config["temperature"], config["feature_width"]) == (0.5, 8)
    assert config["checked"] == {"n_images": 3}
    assert is_export(tmp_path)
    assert [
        path for path in tmp_path.iterdir() if str(tmp_path).encode() in path.read_bytes()
    ] == []


@pytest.mark.parametrize("model", ["local-dir:/home/me/glyphs", "ViT-B-32:/home/me/openai"])
def test_a_local_model_is_not_taken_for_a_published_one(
    model: str,
    make_classifier: Callable[..., SavedClassifier],
    make_metadata: Callable[..., object],
    tmp_path: Path,
) -> None:
    described = make_metadata(encoder={"model": model, "licence": "MIT"})
    saved = public_classifier(make_classifier("adapter", metadata=described))
    assert saved.metadata is not None
    assert saved.metadata.encoder.licence is None
    write_files(tmp_path, saved, preprocessing=None, card="a card", checked={})
    with pytest.raises(EncoderError, match=r"a local model \(.*name the model yourself.*--model"):
        _ = load(tmp_path).encoder


def test_the_first_file_that_no_export_writes_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    assert foreign_file(tmp_path) is None
    (tmp_path / "NOTES.md").touch()
    assert foreign_file(tmp_path) == "NOTES.md"
    (tmp_path / ".git").mkdir()
    assert foreign_file(tmp_path) == ".git"


def test_a_folder_with_the_name_of_a_file_is_not_of_an_export(tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    assert foreign_file(tmp_path) == "README.md"


def test_only_an_export_is_one(tmp_path: Path) -> None:
    assert not is_export(tmp_path)
    for text in ("[]", "{", '{"model_type": "clip"}', "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        assert not is_export(tmp_path)


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        ({"resize_mode": "shortest"}, {"shortest_edge": 24}),
        ({"resize_mode": "squash"}, {"height": 24, "width": 24}),
        ({"resize_mode": "longest"}, None),
        ({"resize_mode": "shortest", "size": (24, 32)}, None),
    ],
)
def test_transformers_gets_settings_where_it_can_do_the_same(
    geometry: dict[str, object],
    size: dict[str, int] | None,
    make_classifier: Callable[..., SavedClassifier],
    tmp_path: Path,
) -> None:
    saved = make_classifier("linear")
    write_files(tmp_path, saved, preprocessing=preprocessing(**geometry), card="", checked={})
    file = tmp_path / "preprocessor_config.json"
    assert (json.loads(file.read_text())["size"] if file.exists() else None) == size


def test_a_missing_package_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_packages()
    monkeypatch.setattr("clip_adapter.exports.folder.PACKAGES", ("json", "onnx_of_next_year"))
    with pytest.raises(UnavailableError, match=r"onnx_of_next_year.*clip-adapter\[export\]"):
        check_packages()
