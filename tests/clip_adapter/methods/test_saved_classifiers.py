"""A classifier comes back from its file as it was, or not at all."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from clip_adapter.methods import (
    METHODS,
    DataError,
    FewShotTask,
    LinearClassifier,
    PrototypeClassifier,
    SavedClassifier,
    create_method,
    decode_classifier,
    encode_classifier,
    load_classifier,
    save_classifier,
)
from clip_adapter.methods.saved_classifier import KEY

MakeTask = Callable[..., FewShotTask]
QUICK = {
    "coop": {"n_context": 2, "epochs": 1},
    "cross-modal-probe": {"epochs": 1},
    "task-res": {"epochs": 1},
}


@pytest.fixture(name="saved", params=METHODS)
def _saved(request: pytest.FixtureRequest, make_task: MakeTask) -> SavedClassifier:
    (fitted,) = create_method(request.param, QUICK.get(request.param)).fit([make_task(shots=2)])
    return SavedClassifier(
        classifier=fitted.classifier,
        method=request.param,
        settings=fitted.settings,
        encoder="an encoder",
    )


def test_it_comes_back_with_its_settings_and_the_same_logits(
    saved: SavedClassifier, pictures: np.ndarray, tmp_path: Path
) -> None:
    save_classifier(saved, tmp_path / "it.safetensors")
    found = load_classifier(tmp_path / "it.safetensors")
    assert (found.method, found.settings, found.encoder) == (
        saved.method,
        saved.settings,
        saved.encoder,
    )
    assert found.classifier.class_names == ("class 0", "class 1", "class 2")
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), saved.classifier.logits(pictures)
    )


def test_the_same_classifier_gives_the_same_bytes(saved: SavedClassifier, tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_classifier(saved, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"one", "other"}


def test_its_bytes_are_those_of_the_file(saved: SavedClassifier, tmp_path: Path) -> None:
    save_classifier(saved, tmp_path / "it")
    assert encode_classifier(saved) == (tmp_path / "it").read_bytes()


def test_bytes_that_are_none_are_refused_by_the_name_of_their_source() -> None:
    with pytest.raises(DataError, match="the champion holds no classifier"):
        decode_classifier(b"", source="the champion")


def test_features_of_another_width_are_refused(
    saved: SavedClassifier, pictures: np.ndarray
) -> None:
    with pytest.raises(DataError, match=r"15 wide, .* fitted to features 16 wide"):
        saved.classifier.logits(pictures[:, :15])


def test_features_of_another_encoder_are_refused(saved: SavedClassifier) -> None:
    saved.check_encoder("an encoder")
    replace(saved, encoder="").check_encoder("another")
    with pytest.raises(DataError, match=r"fitted to features of .* fit it again"):
        saved.check_encoder("another")


SIGMOID = (
    "zero-shot",
    "clip-adapter",
    "task-res",
    "coop",
    "nearest-mean",
    "ss-text",
    "ss-text+",
    "clap",
)
"""Methods whose classifiers score by scaled cosines."""


@pytest.mark.parametrize("bias", [-10.0, 0.0])
def test_the_bias_of_a_sigmoid_model_comes_back_and_changes_no_logit(
    saved: SavedClassifier, pictures: np.ndarray, bias: float
) -> None:
    found = decode_classifier(encode_classifier(replace(saved, logit_bias=bias)), source="it")
    assert found.logit_bias == bias
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), saved.classifier.logits(pictures)
    )
    if saved.method in SIGMOID:
        logits = found.classifier.logits(pictures).astype(np.float64)
        np.testing.assert_allclose(
            found.sigmoid_probabilities(pictures),
            1 / (1 + np.exp(-logits - bias)),
            rtol=1e-6,  # of float32
        )
    else:
        with pytest.raises(DataError, match=f"{re.escape(saved.method)} has logits of a "):
            found.sigmoid_probabilities(pictures)


def test_a_file_of_before_has_no_bias(saved: SavedClassifier, pictures: np.ndarray) -> None:
    assert "logit_bias" not in metadata_of(encode_classifier(saved))
    found = decode_classifier(encode_classifier(saved), source="it")
    assert found.logit_bias is None
    with pytest.raises(DataError, match=r"has no bias: .* take the softmax of the logits"):
        found.sigmoid_probabilities(pictures)


def test_probabilities_of_extreme_logits_do_not_overflow(pictures: np.ndarray) -> None:
    classifier = PrototypeClassifier(
        class_prototypes=np.stack([pictures[0], -pictures[0]]),
        logit_scale=1e6,
        class_names=("this", "other"),
    )
    saved = SavedClassifier(classifier=classifier, method="it", settings={}, logit_bias=-10.0)
    assert saved.sigmoid_probabilities(pictures[:1]).tolist() == [[1.0, 0.0]]


def metadata_of(content: bytes) -> dict[str, object]:
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, object] = json.loads(
        json.loads(content[8 : 8 + length])["__metadata__"][KEY]
    )
    return metadata


Change = Callable[[dict[str, np.ndarray], dict[str, object]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _, metadata: metadata.update(format=3), "format 3, this version reads 2: upgrade"),
        (lambda _, metadata: metadata.update(kind="Pickle"), "holds no classifier"),
        (lambda _, metadata: metadata.pop("method"), "holds no classifier"),
        (lambda arrays, _: arrays.pop("bias"), "arrays"),
        (lambda arrays, _: arrays.update(stray=arrays["bias"]), "arrays"),
        (lambda arrays, _: arrays.update(bias=arrays["bias"][:2].copy()), "fit together"),
        (lambda arrays, _: arrays.update(bias=arrays["bias"] * np.nan), "NaN or infinity"),
        (lambda arrays, _: arrays.update(bias=arrays["bias"].astype(np.float64)), "float64"),
        (lambda _, metadata: metadata.update(values={"class_names": ["a"]}), "for 1 class names"),
        (lambda _, metadata: metadata.update(values={"class_names": 3}), "3 is no"),
        (lambda _, metadata: metadata.update(values={}), "arrays"),
        (lambda _, metadata: metadata.update(logit_bias="-10"), "logit_bias is '-10', expected a"),
        (lambda _, metadata: metadata.update(logit_bias=float("nan")), "logit_bias is nan, expect"),
    ],
)
def test_a_file_that_says_otherwise_is_refused(
    change: Change, reason: str, make_task: MakeTask, tmp_path: Path
) -> None:
    (fitted,) = create_method("linear-probe").fit([make_task()])
    path = tmp_path / "probe.safetensors"
    save_classifier(
        SavedClassifier(classifier=fitted.classifier, method="linear-probe", settings={}), path
    )
    arrays, metadata = load(path.read_bytes()), metadata_of(path.read_bytes())
    change(arrays, metadata)
    path.write_bytes(save(arrays, metadata={KEY: json.dumps(metadata)}))
    with pytest.raises(DataError, match=reason):
        load_classifier(path)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", save({})])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="holds no classifier"):
        load_classifier(path)


def test_a_classifier_of_another_kind_is_not_saved(make_task: MakeTask) -> None:
    class Other(LinearClassifier):
        """A kind that no reader knows."""

    (fitted,) = create_method("linear-probe").fit([make_task()])
    other = Other(**vars(fitted.classifier))
    with pytest.raises(DataError, match="a Other, as mine makes it, cannot be saved: exp"):
        encode_classifier(SavedClassifier(classifier=other, method="mine", settings={}))
