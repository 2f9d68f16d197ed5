"""Classes are added to a classifier by name, and nothing else about it changes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from clip_adapter.errors import DataError
from clip_adapter.methods import (
    METHODS,
    AdapterClassifier,
    CacheClassifier,
    Classifier,
    FewShotTask,
    LinearClassifier,
    PrototypeClassifier,
    SavedClassifier,
    create_method,
    encode_classifier,
)
from clip_adapter.methods.classifier_metadata import ClassifierMetadata, EncoderMetadata, Score
from clip_adapter.methods.extended_classifier import EXTENSIBLE, LONGEST_NAME

WIDTH, N_CLASSES = 16, 5
NAMES = tuple(f"class {number}" for number in range(N_CLASSES))
RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    drawn: np.ndarray = RANDOM.normal(size=shape).astype(np.float32)
    return drawn


TEXT: dict[str, Any] = {
    "class_prototypes": numbers(N_CLASSES, WIDTH),
    "logit_scale": 50.0,
    "class_names": NAMES,
}
CLASSIFIERS: dict[str, Classifier] = {
    "prototypes": PrototypeClassifier(**TEXT),
    "adapter": AdapterClassifier(
        down=numbers(4, WIDTH),
        up=numbers(WIDTH, 4),
        residual_ratio=0.4,
        output_activation=True,
        **TEXT,
    ),
    "predicted ratio": AdapterClassifier(
        down=numbers(4, WIDTH),
        up=numbers(WIDTH, 4),
        residual_ratio=0.4,
        output_activation=False,
        ratio_query=numbers(WIDTH),
        ratio_offset=0.1,
        **TEXT,
    ),
    "cache": CacheClassifier(
        keys=numbers(7, WIDTH),
        labels=np.arange(7) % N_CLASSES,
        alpha=2.0,
        beta=3.0,
        **TEXT,
    ),
}


def saved(classifier: Classifier, **changes: Any) -> SavedClassifier:
    known: dict[str, Any] = {"method": "zero-shot", "settings": {}, "encoder": "ab" * 32}
    return SavedClassifier(classifier=classifier, **(known | changes))


def directions(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture(name="described")
def _described() -> ClassifierMetadata:
    return ClassifierMetadata(
        encoder=EncoderMetadata(model="glyphs", fingerprint="ab" * 32, logit_scale=50.0),
        dataset="photos",
        index_fingerprint="cd" * 32,
        run_fingerprint="ef" * 32,
        shots=4,
        n_train=20,
        n_validation=20,
        selected_on="validation",
        templates=("a photo of a {}.", "a {}."),
        temperature=2.0,
        scores=(Score(name="accuracy", split="test", value=0.9, n_images=10),),
        trained_on=date(2026, 11, 29),
        version="0",
    )


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("n_images", [1, 3, 200])
def test_the_logits_of_the_other_classes_stay_bit_for_bit(kind: str, n_images: int) -> None:
    features, before = numbers(n_images, WIDTH), saved(CLASSIFIERS[kind])
    # Of these numbers some change the others' last bits where they are rows of one matrix.
    for n_new in range(1, 10):
        names = [f"new {number}" for number in range(n_new)]
        after = before.with_classes(names, numbers(n_new, WIDTH)).classifier
        assert after.class_names == (*NAMES, *names)
        np.testing.assert_array_equal(
            after.logits(features)[:, :N_CLASSES], before.classifier.logits(features)
        )


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_class_that_is_added_has_the_logits_of_its_text(kind: str) -> None:
    features, text, old = numbers(20, WIDTH), numbers(2, WIDTH), CLASSIFIERS[kind]
    image = directions(features)
    if isinstance(old, AdapterClassifier):
        # The ratio is taken from the classifier, the blend computed here.
        hidden = np.maximum(features @ old.down.T, 0) @ old.up.T
        adapted = np.maximum(hidden, 0) if old.output_activation else hidden
        ratio: Any = old.residual_ratio
        if old.ratio_query is not None:
            ratio = 1 / (1 + np.exp(-(image @ old.ratio_query + old.ratio_offset)))[:, None]
        image = directions(ratio * adapted + (1 - ratio) * features)
    found = saved(old).with_classes(["owl", "emu"], text).classifier.logits(features)
    # Sums of 16 products in float32, times 50.
    np.testing.assert_allclose(found[:, N_CLASSES:], 50 * image @ directions(text).T, atol=1e-3)


def test_a_class_that_is_added_wins_on_its_images() -> None:
    after = saved(CLASSIFIERS["prototypes"]).with_classes(["owl"], numbers(1, WIDTH))
    text = after.classifier.parts[-1].class_prototypes  # type: ignore[attr-defined]
    near = 3 * text + 0.1 * numbers(10, WIDTH)
    assert set(after.classifier.logits(near).argmax(axis=1)) == {N_CLASSES}


def test_classes_are_added_again_and_again() -> None:
    features, text, before = numbers(9, WIDTH), numbers(3, WIDTH), saved(CLASSIFIERS["adapter"])
    once = before.with_classes(["owl", "emu"], text[:2])
    twice = once.with_classes(["ibex"], text[2:])
    assert twice.classifier.class_names == (*NAMES, "owl", "emu", "ibex")
    np.testing.assert_array_equal(
        twice.classifier.logits(features)[:, :-1], once.classifier.logits(features)
    )
    together = before.with_classes(["owl", "emu", "ibex"], text).classifier.logits(features)
    np.testing.assert_allclose(twice.classifier.logits(features), together, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["owl", "Owl"], "there is a class 'owl' already"),
        (["CLASS  2"], "there is a class 'class 2' already"),
        ([""], "called ''"),
        ([" \t"], "expected a name"),
        (["x" * (LONGEST_NAME + 1)], "2,001 characters"),
    ],
)
def test_a_name_that_cannot_be_told_apart_is_refused(names: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        saved(CLASSIFIERS["cache"]).with_classes(names, numbers(len(names), WIDTH))


def test_a_name_that_was_added_before_is_refused() -> None:
    once = saved(CLASSIFIERS["cache"]).with_classes(["owl"], numbers(1, WIDTH))
    with pytest.raises(DataError, match="there is a class 'owl' already"):
        once.with_classes(["OWL"], numbers(1, WIDTH))


@pytest.mark.parametrize(
    ("prototypes", "reason"),
    [
        (numbers(2, WIDTH), r"shape \(2, 16\): expected \(1, 16\)"),
        (numbers(1, WIDTH + 1), r"shape \(1, 17\)"),
        (np.zeros((1, WIDTH), np.float32), "no direction"),
        (np.full((1, WIDTH), np.nan, np.float32), "no direction"),
    ],
)
def test_prototypes_that_do_not_fit_are_refused(prototypes: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        saved(CLASSIFIERS["prototypes"]).with_classes(["owl"], prototypes)


def test_a_linear_classifier_is_refused_with_the_methods_that_can() -> None:
    linear = LinearClassifier(weight=numbers(2, WIDTH), bias=numbers(2), class_names=("cat", "dog"))
    with pytest.raises(DataError, match="linear-probe has no class prototypes") as raised:
        saved(linear, method="linear-probe").with_classes(["owl"], numbers(1, WIDTH))
    assert all(name in str(raised.value) for name in EXTENSIBLE)


def test_the_methods_that_can_are_those_whose_classifiers_have_prototypes(
    make_task: Callable[..., FewShotTask],
) -> None:
    task, able = make_task(), set()
    for name in METHODS:
        quick = {"epochs": 1} if "training" in vars(create_method(name)) else {}
        quick |= {"n_context": 4} if name == "coop" else {}
        (fitted,) = create_method(name, quick).fit([task])
        new = saved(fitted.classifier, method=name)
        with suppress(DataError):
            new.with_classes(["owl"], numbers(1, task.train_features.shape[1]))
            able.add(name)
    assert able == set(EXTENSIBLE)


def test_scores_are_left_out_and_the_temperature_stays(described: ClassifierMetadata) -> None:
    own = described.model_copy(update={"class_prompts": (("mine",),) * N_CLASSES})
    before = saved(CLASSIFIERS["prototypes"], metadata=own)
    after = before.with_classes(["owl"], numbers(1, WIDTH))
    assert after.metadata is not None
    assert (after.metadata.scores, after.metadata.temperature) == ((), 2.0)
    assert after.metadata.class_prompts == (*own.class_prompts, ())
    features = numbers(4, WIDTH)
    wide = after.classifier.logits(features).astype(np.float64) / 2.0
    expected = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after.probabilities(features), expected, atol=1e-6)


def test_prompts_of_new_classes_are_those_of_the_file(described: ClassifierMetadata) -> None:
    ensemble = saved(CLASSIFIERS["prototypes"], metadata=described)
    assert ensemble.prompts_of_new(["owl"]) == [["a photo of a owl.", "a owl."]]
    single = replace(ensemble, settings={"prompts": "single"})
    assert single.prompts_of_new(["owl", "emu"]) == [["a photo of a owl."], ["a photo of a emu."]]


def test_without_templates_there_are_no_prompts(described: ClassifierMetadata) -> None:
    bare = described.model_copy(update={"templates": ()})
    for metadata in (None, bare):
        with pytest.raises(DataError, match="names no prompts"):
            saved(CLASSIFIERS["cache"], metadata=metadata).prompts_of_new(["owl"])


def test_prompts_are_made_of_names_that_can_be_added_alone(described: ClassifierMetadata) -> None:
    with pytest.raises(DataError, match="'class 1' already"):
        saved(CLASSIFIERS["cache"], metadata=described).prompts_of_new(["Class 1"])


def test_probabilities_of_a_sigmoid_model_have_the_new_classes_too() -> None:
    before = saved(CLASSIFIERS["adapter"], logit_bias=-10.0)
    features = numbers(4, WIDTH)
    found = before.with_classes(["owl"], numbers(1, WIDTH)).sigmoid_probabilities(features)
    assert found.shape == (4, N_CLASSES + 1)
    np.testing.assert_array_equal(found[:, :-1], before.sigmoid_probabilities(features))
    cache = saved(CLASSIFIERS["cache"], logit_bias=-10.0).with_classes(["owl"], numbers(1, WIDTH))
    with pytest.raises(DataError, match="logits of a CacheClassifier"):
        cache.sigmoid_probabilities(features)


def test_a_classifier_with_classes_added_by_name_is_not_saved() -> None:
    after = saved(CLASSIFIERS["cache"]).with_classes(["owl"], numbers(1, WIDTH))
    with pytest.raises(DataError, match="add them when it is loaded"):
        encode_classifier(after)
