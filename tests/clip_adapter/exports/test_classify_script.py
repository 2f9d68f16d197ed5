"""The exported script reads, resizes and classifies as the library does, without it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from clip_adapter.encoders.preprocessing import Preprocessing
from clip_adapter.exports import classify, classify_features
from clip_adapter.exports.folder import preprocessing_settings
from clip_adapter.images import Geometry, UnreadableImageError, decode_image
from clip_adapter.images.views import Interpolation, ResizeMode

GOLDEN = Path(__file__).parents[1] / "images" / "golden"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SIZES = [(24, 24), (24, 36), (37, 21)]
PICTURES = [(24, 24), (64, 48), (31, 97), (200, 10), (9, 9), (7, 400)]
UNLIKE = {
    # 12 bits without a stretch, white as 0, and a transparent colour of 16 bits are rules for
    # scans, which the script does without; HEIC needs a package.
    *("grey12.tiff", "grey16-inverted.tiff", "grey16-key.png", "colour16-key.png", "photo.heic"),
}
WITHOUT_US = (
    "import runpy, sys; sys.modules.update(dict.fromkeys(['torch', 'open_clip', 'clip_adapter', "
    "'feature_cache', 'torchvision', 'scipy', 'yaml', 'pydantic'])); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
@pytest.mark.parametrize("mode", get_args(ResizeMode))
@pytest.mark.parametrize("size", SIZES)
def test_its_pixels_are_those_of_the_encoder(size: Any, mode: Any, interpolation: Any) -> None:
    geometry = Geometry(size=size, resize_mode=mode, interpolation=interpolation, fill_color=77)
    preprocessing = Preprocessing(geometry=geometry, mean=MEAN, std=STD)
    random = np.random.default_rng(0)
    for width, height in PICTURES:
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        ours = geometry.pixels(picture, image_sha256=b"\0" * 32)
        expected = preprocessing.normalise(torch.from_numpy(ours)[None]).numpy()
        found = classify.pixel_values(picture, preprocessing_settings(preprocessing))
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < 1e-6  # the last bits of a division


@pytest.mark.parametrize(
    "path", sorted(each for each in GOLDEN.iterdir() if each.is_file()), ids=lambda path: path.name
)
def test_it_decodes_as_the_library_or_not_at_all(path: Path) -> None:
    try:
        expected = np.asarray(decode_image(path.read_bytes()))
    except UnreadableImageError:
        pytest.skip("the library refuses it")
    if path.name in UNLIKE:
        pytest.skip("a rule for scans")
    assert np.array_equal(np.asarray(classify.read_image(path)), expected)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_32_bits_are_refused(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "deep.tiff", "TIFF")
    with pytest.raises(ValueError, match="32 bits"):
        classify.read_image(tmp_path / "deep.tiff")


def test_it_stays_short() -> None:
    lines = Path(classify.__file__).read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith(('"""', "#"))]
    assert len(code) <= 62


def test_it_classifies_where_neither_torch_nor_this_library_is(
    tmp_path: Path, photos: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    weights = write_graph(folder / "model.onnx", name="pixel_values", shape=["n", 3, 4, 4])
    geometry = Geometry(size=(4, 4))
    preprocessing = Preprocessing(geometry=geometry, mean=MEAN, std=STD)
    write_config(folder, preprocessing=preprocessing_settings(preprocessing))
    shutil.copy(classify.__file__, folder / "classify.py")
    files = [photos / "red" / "001.jpg", photos / "blue" / "002.jpg"]
    for file, line in zip(files, run(folder / "classify.py", *files), strict=True):
        picture = decode_image(file.read_bytes())
        values = preprocessing.normalise(
            torch.from_numpy(geometry.pixels(picture, image_sha256=b"\0" * 32))[None]
        )
        expected = softmax(values.numpy().reshape(1, -1) @ weights)[0]
        assert line["file"] == str(file)
        found = [line["probabilities"][name] for name in ("cat", "dog")]
        assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_features_are_classified_without_an_encoder(tmp_path: Path) -> None:
    folder = tmp_path / "head"
    folder.mkdir()
    weights = write_graph(folder / "head.onnx", name="features", shape=["n", 48])
    write_config(folder)
    shutil.copy(classify_features.__file__, folder / "classify.py")
    features = np.random.default_rng(0).normal(size=(3, 48)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    lines = run(folder / "classify.py", tmp_path / "features.npy")
    assert [line["row"] for line in lines] == [0, 1, 2]
    found = [[line["probabilities"][name] for name in ("cat", "dog")] for line in lines]
    assert np.allclose(found, softmax(features @ weights), atol=1e-6)


@pytest.fixture(name="script")
def _script(tmp_path: Path) -> Path:
    """The script of images in a folder with a graph."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_graph(folder / "model.onnx", name="pixel_values", shape=["n", 3, 4, 4])
    preprocessing = Preprocessing(geometry=Geometry(size=(4, 4)), mean=MEAN, std=STD)
    write_config(folder, preprocessing=preprocessing_settings(preprocessing))
    return Path(shutil.copy(classify.__file__, folder / "classify.py"))


def test_what_cannot_be_read_is_a_line_each_and_the_rest_is_classified(
    script: Path, photos: Path
) -> None:
    (script.parent / "broken.jpg").write_bytes(b"no image")
    photo = photos / "red" / "001.jpg"
    done = started(script, script.parent, script.parent / "broken.jpg", "missing.jpg", photo)
    assert done.returncode == 1
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(photo)]
    folder, broken, missing = done.stderr.splitlines()
    assert folder.startswith(f"{script.parent}: ")
    assert broken.startswith(f"{script.parent / 'broken.jpg'}: ")
    assert missing.startswith("missing.jpg: ")


@pytest.mark.parametrize("module", [classify, classify_features])
@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_how_to_use_it_is_one_line(module: Any, arguments: list[str], tmp_path: Path) -> None:
    script = Path(shutil.copy(module.__file__, tmp_path / "classify.py"))
    done = started(script, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{module.__doc__}\n"
    assert "python classify.py" in done.stderr


def test_features_of_another_encoder_are_a_line(tmp_path: Path) -> None:
    write_graph(tmp_path / "head.onnx", name="features", shape=["n", 48])
    write_config(tmp_path)
    script = Path(shutil.copy(classify_features.__file__, tmp_path / "classify.py"))
    np.save(tmp_path / "other.npy", np.zeros((3, 7), np.float32))
    np.save(tmp_path / "good.npy", np.zeros((3, 48), np.float32))
    done = started(script, tmp_path / "other.npy", tmp_path / "good.npy")
    assert done.returncode == 1
    assert done.stderr.endswith("other.npy: its shape is (3, 7), expected (n, 48)\n")
    assert len(done.stdout.splitlines()) == 3


def started(script: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run the script away from the project, with all of it and torch made impossible to import."""
    return subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_US, str(script), *map(str, arguments)],
        cwd=script.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


def run(script: Path, *files: Path) -> list[dict[str, Any]]:
    """The lines that the script writes for files that it can read."""
    done = started(script, *files)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return found


def write_config(folder: Path, **fields: Any) -> None:
    config = {"class_names": ["cat", "dog"], **fields}
    (folder / "config.json").write_text(json.dumps(config))


def write_graph(path: Path, *, name: str, shape: list[Any]) -> np.ndarray:
    """A graph of one matrix product and a softmax, made by hand; returns the matrix."""
    weights = np.random.default_rng(1).normal(size=(48, 2)).astype(np.float32) / 5
    nodes = [
        helper.make_node("Flatten", [name], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    outputs = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", 2])
        for each in ("logits", "probabilities")
    ]
    given = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    held = [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "by-hand", [given], outputs, held)
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return weights
