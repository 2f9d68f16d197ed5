"""An exported folder agrees with PyTorch, names no path of this machine, or is not there."""

import getpass
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from clip_adapter import export, load, train
from clip_adapter.datasets import open_dataset
from clip_adapter.encoders import load_encoder
from clip_adapter.errors import DataError, EncoderError, ParameterError, UnknownNameError
from clip_adapter.exports import Agreement, classify
from clip_adapter.methods import METHODS, PrototypeClassifier, SavedClassifier, save_classifier
from clip_adapter.methods.classifier_metadata import ClassifierMetadata, EncoderMetadata
from clip_adapter.methods.extended_classifier import ExtendedClassifier
from clip_adapter.pipeline import export as export_module
from clip_adapter.pipeline.export import CheckImages, Exported
from clip_adapter.pipeline.image_inputs import find_images
from clip_adapter.pipeline.open_vocabulary import ReorderedClassifier
from clip_adapter.runs import query
from clip_adapter.settings import Settings
from feature_cache import InvalidInputError

GOLDEN = Path(__file__).parents[2] / "golden"
DATASET = "imagefolder-colours-87987479"
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
VIT = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
TIMM = {"image_size": 32, "timm_pool": "avg", "timm_proj": "linear"}
QUICK = {"cross-modal-probe": {"epochs": 5}, "coop": {"epochs": 2}}
"""By default a training of these takes minutes."""
WITH_ENCODER = {"clip-adapter", "tip-adapter"}
"""Methods of two kinds of classifiers: the champion is of a third, and every form of encoder has one of
a fourth. The encoder's graph does not depend on them."""
FORMS: dict[str, dict[str, Any]] = {
    "ViT": {"vision_cfg": VIT},
    "ViT with QuickGELU": {"vision_cfg": VIT, "quick_gelu": True},
    "ResNet": {"vision_cfg": {"image_size": 32, "layers": [1] * 4, "width": 8, "head_width": 8}},
    "timm ViT": {"vision_cfg": {**TIMM, "timm_model_name": "test_vit"}, "custom_text": True},
    "SigLIP": {
        "embed_dim": 64,
        "vision_cfg": {
            **TIMM,
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "custom_text": True,
        "init_logit_bias": -10,
    },
    "ConvNeXt": {"vision_cfg": {**TIMM, "timm_model_name": "test_convnext"}, "custom_text": True},
    "EfficientNet": {
        "vision_cfg": {**TIMM, "timm_model_name": "test_efficientnet"},
        "custom_text": True,
    },
}


def save_model(folder: Path, form: dict[str, Any]) -> str:
    """Random towers of a form, as `local-dir:` reads them; returns their name."""
    import open_clip  # noqa: PLC0415  # seconds
    import torch  # noqa: PLC0415  # the same
    from safetensors.torch import save_file  # noqa: PLC0415  # the same

    config = {"embed_dim": 16, "text_cfg": TEXT, **form}
    towers = {name: value for name, value in config.items() if name != "custom_text"}
    kind = open_clip.CustomTextCLIP if "custom_text" in form else open_clip.CLIP
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = kind(**towers)
    folder.mkdir()
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    for value in weights.values():  # else an untrained ResNet makes one feature of all images
        if "ResNet" in str(folder) and value.ndim == 4:
            value.mul_(2)
    save_file(weights, folder / "open_clip_model.safetensors")
    size = form["vision_cfg"]["image_size"]
    preprocessing = {
        "size": size,
        "mean": [0.5] * 3,
        "std": [0.3] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash" if "SigLIP" in str(folder) else "shortest",
    }
    described = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return f"local-dir:{folder}"


def classifier_of(model: str, place: Path, images: Iterable[Path]) -> Path:
    """The file of a classifier whose prototypes are features of images."""
    encoder = load_encoder(model)
    with_encoder = load_images(images)
    pixels = [encoder.geometry.pixels(each, image_sha256=b"\0" * 32) for each in with_encoder]
    features = encoder.encode_images(np.stack(pixels)).astype(np.float32)
    centred = features - features.mean(axis=0) / 2
    classifier = PrototypeClassifier(
        class_prototypes=centred,
        logit_scale=100.0,
        class_names=tuple(f"class {n}" for n in range(len(features))),
    )
    saved = SavedClassifier(
        classifier=classifier, method="zero-shot", settings={}, encoder=encoder.fingerprint
    )
    save_classifier(saved, place)
    return place


def load_images(paths: Iterable[Path]) -> list[Any]:
    return [classify.read_image(path) for path in paths]


def by_script(folder: Path, images: Iterable[Path]) -> np.ndarray:
    """Probabilities by the functions of the exported script."""
    settings = json.loads((folder / "config.json").read_text())["preprocessing"]
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    rows = [
        session.run(
            ["probabilities"],
            {"pixel_values": classify.pixel_values(classify.read_image(each), settings)},
        )[0][0]
        for each in images
    ]
    return np.stack(rows)


def paths_told(folder: Path, *others: Path) -> list[str]:
    """The files of an export that tell a path or name of this machine."""
    names = {
        str(Path.home()),
        str(folder.parent),
        tempfile.gettempdir(),
        *map(str, others),
    }
    names |= {str(Path(__file__).parents[3]), sys.prefix, f"/{getpass.getuser()}/"}
    told = {name.encode() for name in names if len(name) > 4}
    return [
        f"{file.name}: {name!r}"
        for file in folder.iterdir()
        for name in told
        if name in file.read_bytes()
    ]


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden store, whose champion takes features of `glyphs`; its images are elsewhere."""
    return Path(shutil.copytree(GOLDEN / "store-2", tmp_path_factory.mktemp("golden") / "store"))


@pytest.fixture(scope="module", name="digits")
def _digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run of every method on the 1,797 digits, and a champion."""
    root = tmp_path_factory.mktemp("digits") / "store"
    train("digits", shots=[4], seeds=[1], methods=["gda"], root=root, promote=True)
    train("digits", shots=[2], seeds=[1], methods=[*METHODS], settings=QUICK, root=root)
    return root


@pytest.fixture(scope="module", name="images")
def _images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """500 of the 1,797 digits."""
    source = open_dataset("digits", data=tmp_path_factory.mktemp("data"))
    files = [source.folder / file.path for file in source.files]
    return [files[int(place)] for place in np.linspace(0, len(files) - 1, 500)]


def test_a_head_is_exported_and_checked_on_stored_features(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "head"
    written = export(f"champion:{DATASET}", folder, root=store, encoder=False, max_images=500)
    assert written.files == (
        *("README.md", "classify.py", "config.json", "head.onnx", "model.safetensors"),
    )
    assert written.images == f"stored features of {DATASET}"
    assert written.is_real
    assert written.agreement.n_images > 150
    assert written.agreement.holds
    assert paths_told(folder, store, tmp_path) == []
    assert load(folder).saved.method == "linear-probe"
    card = (folder / "README.md").read_text()
    assert "from the run store" in card
    assert "| recall |" in card


def test_a_graph_that_disagrees_is_not_written(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = load(f"champion:{DATASET}", root=store)

    def off(_: Path) -> Any:
        return lambda batch: champion.predict_proba(batch) + np.float32(2e-4)

    monkeypatch.setattr("clip_adapter.pipeline.export.open_graph", off)
    with pytest.raises(DataError, match=r"probabilities differ by up to 2\.0e-04"):
        export(f"champion:{DATASET}", tmp_path / "head", root=store, encoder=False)
    assert [*tmp_path.iterdir()] == []


def test_what_cannot_be_asked_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="opset is 9; expected 18 to 23"):
        export("champion:digits", tmp_path / "new", opset=9)
    with pytest.raises(ParameterError, match="max_images is 0"):
        export("champion:digits", tmp_path / "new", max_images=0)


@pytest.mark.parametrize("order", [None, (1, 2, 0)])
def test_classes_that_were_added_by_name_are_refused_before_anything_is_written(
    order: tuple[int, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = PrototypeClassifier(
        class_prototypes=np.eye(3, 4, dtype=np.float32),
        logit_scale=100.0,
        class_names=("a", "b", "c"),
    )
    classifier: Any = ExtendedClassifier(parts=(part,))
    if order:
        classifier = ReorderedClassifier(classifier=classifier, order=order)
    saved = SimpleNamespace(classifier=classifier, method="zero-shot")
    monkeypatch.setattr(export_module, "load", lambda *_, **__: SimpleNamespace(saved=saved))
    with pytest.raises(DataError, match="export one that was trained on all its classes"):
        export("run:x", tmp_path / "out", encoder=False)
    assert not list(tmp_path.iterdir())


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(InvalidInputError, match="exists"):
        export("champion:digits", tmp_path)
    with pytest.raises(InvalidInputError, match=r"has 'photo\.jpg', which no export writes"):
        export("champion:digits", tmp_path, overwrite=True)
    with pytest.raises(InvalidInputError, match="is a file"):
        export("champion:digits", tmp_path / "photo.jpg", overwrite=True)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(InvalidInputError, match="holds other files than an export"):
        export("champion:digits", tmp_path / "other", overwrite=True)


@pytest.mark.parametrize("name", [".git", "NOTES.md"])
def test_an_export_to_which_a_user_added_something_is_kept(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "head"
    folder.mkdir()
    for file in ("README.md", "classify.py", "head.onnx", "model.onnx.data"):
        (folder / file).write_text("exported")
    (folder / "config.json").write_text('{"model_type": "clip-adapter"}')
    with pytest.raises(UnknownNameError):  # of the store, and not of the folder
        export("champion:digits", folder, root=tmp_path / "none", overwrite=True)
    added = folder / name / "HEAD" if name == ".git" else folder / name
    added.parent.mkdir(exist_ok=True)
    added.write_text("mine")
    with pytest.raises(InvalidInputError, match=rf"has '{name}', which no export writes"):
        export("champion:digits", folder, root=tmp_path / "none", overwrite=True)
    assert added.read_text() == "mine"


def test_the_card_of_a_file_has_no_number_of_the_run_that_it_names(
    store: Path, tmp_path: Path
) -> None:
    saved = load(f"champion:{DATASET}", root=store).saved
    classifier: Any = saved.classifier
    other = replace(saved, classifier=replace(classifier, weight=classifier.weight[::-1].copy()))
    save_classifier(other, tmp_path / "reversed.safetensors")
    export(tmp_path / "reversed.safetensors", tmp_path / "head", root=store, encoder=False)
    card = (tmp_path / "head" / "README.md").read_text()
    assert "are as the file says" in card
    assert "| recall |" not in card


def check_images(images: Iterable[Path | str], limit: int) -> CheckImages:
    saved = SavedClassifier(
        classifier=PrototypeClassifier(
            class_prototypes=np.eye(2, dtype=np.float32), logit_scale=1.0, class_names=("a", "b")
        ),
        method="zero-shot",
        settings={},
        encoder="ab" * 8,
    )
    return CheckImages(
        saved, Settings.of(root="nowhere"), given=find_images([*map(str, images)]), limit=limit
    )


def read_by(pictures: CheckImages) -> np.ndarray:
    """Pixels of all batches, by this library."""
    return np.concatenate([ours for ours, _ in pictures.pixels(load_encoder("glyphs"))])


def test_folders_patterns_and_archives_are_compared_on(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for file in sorted(photos.rglob("*.jpg")):
            archive.add(file, str(file.relative_to(photos)))
    found = [
        read_by(check_images([given], 12))
        for given in (photos, tmp_path / "photos.tar", photos / "**" / "*.jpg")
    ]
    assert [len(each) for each in found] == [12, 12, 12]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert len(read_by(check_images([photos / "red", tmp_path / "photos.tar"], 7))) == 7


def test_images_are_held_a_batch_at_a_time(photos: Path) -> None:
    files = sorted(photos.rglob("*.jpg"))[:3]
    pictures = check_images(files * 30, 90)
    sizes = [len(ours) for ours, _ in pictures.pixels(load_encoder("glyphs"))]
    assert sizes == [1, 32, 32, 25]


def test_what_one_side_cannot_read_is_left_out_and_counted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no image")
    for name in ("photo.jpg", "other.jpg"):
        shutil.copy(next(photos.rglob("*.jpg")), folder / name)
    read = classify.read_image
    shown = []

    def refuse_every_second(file: Any) -> Any:
        shown.append(file)
        if len(shown) % 2 == 0:
            raise SyntaxError("as Pillow raises for some damaged files")
        return read(file)

    monkeypatch.setattr(classify, "read_image", refuse_every_second)
    pictures = check_images([folder], 10)
    assert len(read_by(pictures)) == 1
    assert pictures.n_unreadable == 2
    with pytest.raises(ParameterError, match="none of the images that --images names can be read"):
        read_by(check_images([folder / "broken.jpg"], 10))


def test_the_summary_counts_images_that_could_not_be_read() -> None:
    agreement = Agreement(n_images=3, difference=0.0, n_other_class=0)
    told: dict[str, Any] = {
        "folder": Path("model"),
        "files": (),
        "images": "images that were named",
    }
    both = [
        Exported(**told, agreement=agreement, is_real=True, n_unreadable=n, precision="fp32")
        for n in (0, 5)
    ]
    assert ["cannot read" in " ".join(each.summary) for each in both] == [False, True]
    assert any("5 images were left out" in line for line in both[1].summary)


def test_images_that_are_not_there_are_an_error_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no"):
        export("champion:digits", tmp_path / "new", images=[tmp_path / "none"])
    with pytest.raises(DataError, match="no image among"):
        export("champion:digits", tmp_path / "new", images=[tmp_path])


@pytest.mark.slow
def test_an_encoder_is_exported_with_its_classifier(
    tiny_model: str, photos: Path, tmp_path: Path
) -> None:
    images = sorted(photos.rglob("*.jpg"))
    file = classifier_of(tiny_model, tmp_path / "classifier.safetensors", images[::40])
    folder = tmp_path / "out" / "model"
    written = export(file, folder, model=tiny_model, images=[photos], root=tmp_path / "none")
    assert (written.is_real, written.agreement.n_images) == (True, 64)
    assert paths_told(folder, photos, Path(tiny_model.removeprefix("local-dir:"))) == []
    expected = load(file, model=tiny_model).predict_proba(images)
    assert Agreement.of(expected, by_script(folder, images)).holds
    generated = export(file, folder, model=tiny_model, root=tmp_path / "none", overwrite=True)
    assert (generated.is_real, generated.images) == (False, "generated pictures")
    assert "name some with --images" in " ".join(generated.summary)


@pytest.mark.slow
def test_bfloat16_is_exported_in_fp32_with_the_difference(tmp_path: Path) -> None:
    root = tmp_path / "store"
    train(
        "digits", shots=[1], seeds=[1], methods=["clip-adapter"], root=str(root), precision="bf16"
    )
    run = query(root, "SELECT run_id FROM runs")["run_id"][0].as_py()
    written = export(f"run:{run}", tmp_path / "model", root=root)
    assert written.agreement.holds
    assert written.precision == "bf16"
    assert written.precision_agreement is not None
    assert written.precision_agreement.difference > 1e-4  # or it would not be worth saying
    assert "trained in bf16" in " ".join(written.summary)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "features in bf16; the graph computes in fp32" in card


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", METHODS)
def test_of_every_method_all_forms_agree_on_500_digits(
    method: str, digits: Path, images: list[Path], tmp_path: Path
) -> None:
    asked = "SELECT run_id FROM runs WHERE method = $method AND status = 'completed'"
    run = query(digits, asked, {"method": method})["run_id"][0].as_py()
    in_memory = load(f"run:{run}", root=digits)
    save_classifier(in_memory.saved, tmp_path / "file.safetensors")
    folder = tmp_path / "model"
    has_encoder = method in WITH_ENCODER
    written = export(f"run:{run}", folder, root=digits, encoder=has_encoder, max_images=500)
    assert (written.is_real, written.agreement.n_images) == (True, 500)
    expected = in_memory.predict_proba(images)
    check_forms(expected, images, load(tmp_path / "file.safetensors"), load(folder))
    if has_encoder:
        assert Agreement.of(expected, by_script(folder, images)).holds


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_champion_and_its_export_agree_on_500_digits(
    digits: Path, images: list[Path], tmp_path: Path
) -> None:
    champion = load("champion:digits", root=digits)
    export("champion:digits", tmp_path / "model", root=digits, max_images=500)
    expected = champion.predict_proba(images)
    check_forms(expected, images, load(tmp_path / "model"))
    assert Agreement.of(expected, by_script(tmp_path / "model", images)).holds


def check_forms(expected: np.ndarray, images: list[Path], *forms: Any) -> None:
    for form in forms:
        assert Agreement.of(expected, form.predict_proba(images)).holds


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", FORMS)
def test_of_every_form_of_encoder_graph_and_script_agree_on_500_digits(
    form: str, images: list[Path], tmp_path: Path
) -> None:
    model = save_model(tmp_path / form, FORMS[form])
    file = classifier_of(model, tmp_path / "classifier.safetensors", images[::100])
    folder = tmp_path / "model"
    written = export(
        file, folder, model=model, images=images, max_images=500, root=tmp_path / "none"
    )
    assert written.agreement.n_images == 500
    expected = load(file, model=model).predict_proba(images)
    assert Agreement.of(expected, by_script(folder, images)).holds


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.timeout(900)
def test_real_photos_are_classified_alike(tmp_path: Path) -> None:
    data = Path(os.environ.get("CLIP_ADAPTER_TEST_DATA", "/nowhere"))
    if not (data / "EuroSAT.zip").is_file():
        pytest.skip("CLIP_ADAPTER_TEST_DATA names no folder with EuroSAT.zip")
    images = unpack(data / "EuroSAT.zip", tmp_path / "land", per_class=50)
    file = classifier_of("glyphs", tmp_path / "classifier.safetensors", images[::50])
    written: Exported = export(
        file, tmp_path / "model", model="glyphs", images=images, max_images=500, root=tmp_path
    )
    assert (written.agreement.n_images, written.is_real) == (500, True)
    expected = load(file, model="glyphs").predict_proba(images)
    assert Agreement.of(expected, by_script(tmp_path / "model", images)).holds


def unpack(archive: Path, folder: Path, *, per_class: int) -> list[Path]:
    folder.mkdir()
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith(".jpg"))
        by_class: dict[str, list[str]] = {}
        for name in names:
            by_class.setdefault(name.rpartition("/")[0], []).append(name)
        files = []
        for chosen in by_class.values():
            for name in chosen[:per_class]:
                file = folder / name.rpartition("/")[2]
                file.write_bytes(opened.read(name))
                files.append(file)
    return files


def test_imported_features_have_no_encoder_to_export(tmp_path: Path) -> None:
    encoder = EncoderMetadata(
        model="made elsewhere", fingerprint="ab" * 8, is_imported=True, logit_scale=100.0
    )
    metadata = ClassifierMetadata(
        encoder=encoder,
        dataset="flowers",
        index_fingerprint="cd" * 8,
        run_fingerprint="ef" * 8,
        shots=1,
        n_train=3,
        n_validation=3,
        selected_on="validation",
        trained_on=date(2026, 11, 29),
        version="0.1.0",
    )
    classifier = PrototypeClassifier(
        class_prototypes=np.eye(3, dtype=np.float32), logit_scale=100.0, class_names=("a", "b", "c")
    )
    saved = SavedClassifier(
        classifier=classifier,
        method="zero-shot",
        settings={},
        encoder=encoder.fingerprint,
        metadata=metadata,
    )
    save_classifier(saved, tmp_path / "imported.safetensors")
    with pytest.raises(EncoderError, match=r"'made elsewhere'.*--no-encoder"):
        export(tmp_path / "imported.safetensors", tmp_path / "model", root=tmp_path)
    assert not (tmp_path / "model").exists()
