"""The estimators do what scikit-learn expects, and what the methods do on the same arrays."""

import pickle
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from clip_adapter import (
    CachedImageEncoder,
    ClipAdapterClassifier,
    FewShotClassifier,
    TrainedClassifier,
    load,
)
from clip_adapter.encoders import Encoder, EncoderError
from clip_adapter.errors import (
    DataError,
    ImageError,
    ParameterError,
    SettingsError,
    UnknownNameError,
)
from clip_adapter.estimators import class_means, held_out_rows
from clip_adapter.methods import (
    METHODS,
    FewShotTask,
    create_method,
    fit_method,
    save_classifier,
)
from clip_adapter.methods.conformal import Calibration

WIDTH, N_CLASSES = 16, 3
NAMES = ("apple", "pear", "plum")
WITHOUT_TEXT_TOWER = [name for name, method in METHODS.items() if not method.needs_text_tower]
"""All methods but CoOp, which learns prompts through a text tower that features do not have."""
QUICK = {
    "clip-adapter": {"recipe": "fast", "epochs": 2},
    "cross-modal-probe": {"epochs": 1},
    "linear-probe": {"max_iterations": 20},
    "task-res": {"epochs": 5},
    "tip-adapter-f": {"epochs": 2},
    "auto": {"selection": "none"},  # no folds, in which every part is fitted
    "clip-adapter+gda": {"selection": "none"},  # no folds, in which every part is fitted
}
"""By default the checks of these take minutes: a fit of the cross-modal probe is 25,600 steps."""
CHECKS_WITHOUT_ARRAYS = (
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_mixin_order,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
)
"""The checks of scikit-learn that fit no matrix of numbers."""

Arrays = tuple[np.ndarray, np.ndarray]


def fast_estimators() -> list[Any]:
    return [
        FewShotClassifier("zero-shot"),
        FewShotClassifier("gda"),
        ClipAdapterClassifier(recipe="fast", epochs=2),
    ]


def other_estimators() -> list[Any]:
    return [
        FewShotClassifier(name, settings=QUICK.get(name))
        for name in WITHOUT_TEXT_TOWER
        if name not in {"zero-shot", "gda"}
    ]


def features_of(labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Noisy features around class centres."""
    centres = np.random.default_rng(7).normal(size=(N_CLASSES, WIDTH))
    noise = np.random.default_rng(seed).normal(size=(len(labels), WIDTH))
    noisy: np.ndarray = centres[labels] + 0.8 * noise
    return noisy


@pytest.fixture(name="shots")
def _shots() -> Arrays:
    """Six images a class, in double precision as numpy makes them."""
    labels = np.repeat(np.arange(N_CLASSES), 6)
    return features_of(labels), labels


@pytest.fixture(name="prototypes")
def _prototypes() -> np.ndarray:
    """Two prompts a class that know the centres vaguely."""
    return features_of(np.repeat(np.arange(N_CLASSES), 2), seed=3).reshape(N_CLASSES, 2, WIDTH)


@parametrize_with_checks(fast_estimators())
def test_scikit_learn_finds_nothing_to_object_to(
    estimator: Any, check: Callable[[Any], None]
) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(other_estimators())
def test_scikit_learn_finds_nothing_to_object_to_in_any_method(
    estimator: Any, check: Callable[[Any], None]
) -> None:
    check(estimator)


@pytest.mark.parametrize("check", CHECKS_WITHOUT_ARRAYS)
def test_scikit_learn_finds_nothing_to_object_to_in_the_encoder(check: Callable[..., None]) -> None:
    check("CachedImageEncoder", CachedImageEncoder("glyphs"))


def test_scikit_learn_leaves_the_checks_of_matrices_out_for_paths() -> None:
    with pytest.warns(SkipTestWarning, match="Can't test estimator CachedImageEncoder"):
        done = estimator_checks.check_estimator(CachedImageEncoder("glyphs"))
    assert [(each["check_name"], each["status"]) for each in done] == [
        ("check_estimator_cloneable", "passed")
    ]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("zero-shot", {}), ("lp++", {"lengths": [1.0]}), ("gda", {"selection": "none"})],
)
def test_a_method_that_chooses_nothing_is_fitted_to_all_images(
    name: str, settings: dict[str, Any], shots: Arrays, prototypes: np.ndarray
) -> None:
    features, labels = shots
    estimator = FewShotClassifier(
        name, prototypes=prototypes, settings=settings, random_state=5
    ).fit(features, labels)
    assert estimator.n_validation_ == 0
    assert estimator.prototypes_source_ == "given"
    task = task_of(shots, prototypes, np.zeros(len(labels), dtype=bool), seed=5)
    (expected,) = fit_method(create_method(name, settings), [task])
    np.testing.assert_array_equal(
        estimator.decision_function(features),
        expected.classifier.logits(features.astype(np.float32)),
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gda", {}),
        ("linear-probe", {"max_iterations": 50}),
        ("tip-adapter", {"alphas": (0.5, 1.0)}),
        ("clip-adapter", {"recipe": "fast", "residual_ratios": (0.2, 0.6)}),
    ],
)
def test_a_method_that_chooses_is_given_held_out_images(
    name: str, settings: dict[str, Any], shots: Arrays, prototypes: np.ndarray
) -> None:
    features, labels = shots
    held_out = held_out_rows(labels, at_most=4, seed=5)
    task = task_of(shots, prototypes, held_out, seed=5)
    (expected,) = fit_method(create_method(name, settings), [task])
    estimator = FewShotClassifier(name, prototypes=prototypes, settings=settings, random_state=5)
    estimator.fit(features, labels)
    assert estimator.settings_ == expected.settings
    assert (estimator.selected_on_, estimator.n_validation_) == ("validation", 9)
    single = features.astype(np.float32)
    logits = expected.classifier.logits(single)
    np.testing.assert_array_equal(estimator.decision_function(features), logits)
    np.testing.assert_array_equal(estimator.predict(features), logits.argmax(axis=1))
    probabilities = estimator.predict_proba(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    # The estimator's are rounded to float32.
    np.testing.assert_allclose(probabilities, softmax(logits.astype(float), axis=1), atol=1e-7)


def task_of(
    shots: Arrays, prototypes: np.ndarray, held_out: np.ndarray, *, seed: int
) -> FewShotTask:
    features, labels = shots[0].astype(np.float32), shots[1]
    return FewShotTask(
        train_features=features[~held_out],
        train_labels=labels[~held_out],
        val_features=features[held_out],
        val_labels=labels[held_out],
        prompt_features=prototypes.astype(np.float32),
        logit_scale=100.0,
        class_names=("0", "1", "2"),
        shots=int(np.bincount(labels[~held_out]).max()),
        seed=seed,
    )


def test_the_short_form_is_clip_adapter(shots: Arrays, prototypes: np.ndarray) -> None:
    short = ClipAdapterClassifier(
        prototypes=prototypes,
        branch="both",
        residual_ratio=0.4,
        text_residual_ratio=0.6,
        recipe="fast",
        epochs=3,
        random_state=1,
    )
    settings = {
        "branch": "both",
        "residual_ratios": [0.4],
        "text_residual_ratios": [0.6],
        "recipe": "fast",
        "epochs": 3,
    }
    long = FewShotClassifier(
        "clip-adapter", prototypes=prototypes, settings=settings, random_state=1
    )
    found, expected = short.fit(*shots), long.fit(*shots)
    assert found.settings_ == expected.settings_
    np.testing.assert_array_equal(found.predict_proba(shots[0]), expected.predict_proba(shots[0]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"selection": "held-out-shots"}, "held-out shots"),
        ({"selection": "none"}, "nothing"),
        ({"ratio_mode": "learned"}, "training"),
        ({"ratio_mode": "hypernetwork"}, "training"),
    ],
)
def test_what_needs_no_validation_takes_no_image_for_it(
    settings: dict[str, Any], expected: str, shots: Arrays
) -> None:
    estimator = ClipAdapterClassifier(recipe="fast", epochs=1, random_state=0, **settings)
    estimator.fit(*shots)
    assert estimator.n_validation_ == 0
    assert estimator.selected_on_ == expected


def test_a_seed_gives_the_same_bits_and_another_seed_others(shots: Arrays) -> None:
    def probabilities(random_state: Any) -> np.ndarray:
        estimator = ClipAdapterClassifier(recipe="fast", random_state=random_state)
        found: np.ndarray = estimator.fit(*shots).predict_proba(shots[0])
        return found

    np.testing.assert_array_equal(probabilities(3), probabilities(3))
    generators = (np.random.RandomState(3), np.random.RandomState(3))
    np.testing.assert_array_equal(*map(probabilities, generators))
    assert not np.array_equal(probabilities(3), probabilities(4))


def test_fitting_draws_nothing_from_global_generators_with_a_seed(shots: Arrays) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # the global one is meant
    ClipAdapterClassifier(recipe="fast", random_state=0).fit(*shots)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002  # the same


def test_class_means_stand_in_for_prototypes_and_it_is_said(shots: Arrays) -> None:
    features, labels = shots
    estimator = FewShotClassifier("zero-shot").fit(features, labels)
    assert estimator.prototypes_source_ == "class means"
    assert estimator.to_saved().settings["prototypes_source"] == "class means"
    means = class_means(features.astype(np.float32), labels)
    given = FewShotClassifier("zero-shot", prototypes=means).fit(features, labels)
    np.testing.assert_array_equal(
        given.decision_function(features), estimator.decision_function(features)
    )


def test_held_out_images_are_not_in_the_class_means(shots: Arrays) -> None:
    features, labels = shots
    held_out = held_out_rows(labels, at_most=4, seed=0)
    moved = np.where(held_out[:, None], -features, features)
    one, other = (
        FewShotClassifier("tip-adapter", settings={"alphas": (0.0, 1e-9)}, random_state=0).fit(
            each, labels
        )
        for each in (features, moved)
    )
    np.testing.assert_allclose(one.classifier_.class_prototypes, other.classifier_.class_prototypes)


def test_prototypes_follow_class_names_and_probabilities_the_sorted_labels(
    shots: Arrays, prototypes: np.ndarray
) -> None:
    features, labels = shots
    words = np.array(NAMES)[labels]
    order = [2, 0, 1]
    expected = FewShotClassifier("gda", prototypes=prototypes, random_state=0)
    expected.fit(features, words)
    found = FewShotClassifier(
        "gda",
        class_names=[NAMES[place] for place in order],
        prototypes=prototypes[order],
        random_state=0,
    ).fit(features, words)
    assert found.classes_.tolist() == list(NAMES)
    assert found.classifier_.class_names == NAMES
    np.testing.assert_array_equal(found.predict_proba(features), expected.predict_proba(features))
    numbered = clone(expected).set_params(class_names=NAMES).fit(features, labels)
    assert numbered.classifier_.class_names == NAMES
    assert numbered.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(
        numbered.predict_proba(features), expected.predict_proba(features)
    )


def test_a_class_without_images_is_left_out(shots: Arrays, prototypes: np.ndarray) -> None:
    features, labels = shots
    some = labels != 1
    estimator = FewShotClassifier("gda", class_names=NAMES, prototypes=prototypes)
    estimator.fit(features[some], labels[some])
    assert estimator.classes_.tolist() == [0, 2]
    assert estimator.classifier_.class_names == ("apple", "plum")
    assert estimator.decision_function(features).shape == (len(features),)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "clip-adaptor"}, UnknownNameError, "did you mean 'clip-adapter'"),
        ({"method": "gda", "settings": {"alpha": 1}}, UnknownNameError, "did you mean 'alphas'"),
        ({"method": "gda", "settings": {"alphas": [-1.0]}}, SettingsError, "numbers from 0 up"),
        ({"method": "coop"}, DataError, "text tower"),
        ({"method": "gda", "validation_shots": -1}, ParameterError, "validation_shots is -1"),
        ({"method": "gda", "validation_shots": 0.5}, ParameterError, "validation_shots is 0.5"),
        ({"prototypes": np.ones((2, WIDTH))}, ParameterError, r"shape \(2, 16\) for 3 classes"),
        ({"prototypes": np.ones((3, 5))}, DataError, "same encoder"),
        ({"prototypes": np.zeros((3, WIDTH))}, DataError, "no direction"),
        ({"class_names": ["a", "a", "b"]}, ParameterError, "a name twice"),
        ({"class_names": ["a", "b"]}, UnknownNameError, "unknown class '2'"),
        ({"logit_scale": 0.0}, DataError, "logit_scale is 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_what_to_do(
    changes: dict[str, Any], error: type[Exception], message: str, shots: Arrays
) -> None:
    with pytest.raises(error, match=message):
        FewShotClassifier(**{"method": "zero-shot", **changes}).fit(*shots)


def test_a_misspelt_label_is_told_from_the_class_names(shots: Arrays) -> None:
    words = np.array(["apple", "pear", "plumm"])[shots[1]]
    with pytest.raises(UnknownNameError, match="'plumm': did you mean 'plum'"):
        FewShotClassifier("gda", class_names=NAMES).fit(shots[0], words)


@pytest.mark.parametrize("name", WITHOUT_TEXT_TOWER)
def test_one_image_a_class_is_fitted_with_stated_values(name: str, prototypes: np.ndarray) -> None:
    labels = np.arange(N_CLASSES)
    settings = {"epochs": 2} if "training" in METHODS[name].__dataclass_fields__ else {}
    estimator = FewShotClassifier(name, prototypes=prototypes, settings=settings, random_state=0)
    estimator.fit(features_of(labels), labels)
    assert estimator.n_validation_ == 0
    assert np.isfinite(estimator.predict_proba(features_of(labels, seed=2))).all()
    expected = "training" if name == "lp++" else "nothing"  # whose blend is a weight
    assert estimator.selected_on_ == expected
    if name == "clip-adapter":
        assert estimator.settings_["residual_ratio"] == 0.6


def test_of_a_grid_of_ones_own_the_point_nearest_to_the_default_is_taken(
    prototypes: np.ndarray,
) -> None:
    labels = np.arange(N_CLASSES)
    estimator = FewShotClassifier("gda", settings={"alphas": (10.0, 1.0)}, prototypes=prototypes)
    assert estimator.fit(features_of(labels), labels).settings_["alpha"] == 1.0


@pytest.mark.parametrize(("n", "expected"), [(1, 0), (2, 1), (3, 1), (8, 4), (20, 4)])
def test_images_are_held_out_as_the_protocol_has_them(n: int, expected: int) -> None:
    labels = np.repeat([0, 1], [n, 20])
    held_out = held_out_rows(labels, at_most=4, seed=0)
    assert held_out[:n].sum() == expected
    assert held_out[n:].sum() == 4
    assert not held_out_rows(labels, at_most=0, seed=0).any()


def test_a_feature_of_zeros_has_no_preference(shots: Arrays, prototypes: np.ndarray) -> None:
    features, labels = shots
    zero = np.zeros((1, WIDTH))
    estimator = FewShotClassifier("zero-shot", prototypes=prototypes).fit(features, labels)
    np.testing.assert_allclose(estimator.predict_proba(zero), 1 / N_CLASSES, rtol=1e-6)
    with pytest.raises(DataError, match="1 classes have no mean direction"):
        FewShotClassifier("zero-shot").fit(np.where(labels[:, None] == 1, 0, features), labels)


@pytest.mark.parametrize("size", [1e19, 1e300])
def test_features_that_leave_single_precision_are_refused(size: float, shots: Arrays) -> None:
    estimator = FewShotClassifier("gda").fit(*shots)
    with pytest.raises(ValueError, match=r"too long for float32|too large for dtype"):
        estimator.predict(shots[0] * size)
    with pytest.raises(ValueError, match=r"too long for float32|too large for dtype"):
        FewShotClassifier("gda").fit(shots[0] * size, shots[1])


def test_a_file_gives_the_same_answers(
    tmp_path: Path, shots: Arrays, prototypes: np.ndarray
) -> None:
    features, labels = shots
    estimator = FewShotClassifier(
        "gda", class_names=NAMES, prototypes=prototypes, random_state=0
    ).fit(features, labels)
    save_classifier(estimator.to_saved(encoder="0123456789ab"), tmp_path / "gda.safetensors")
    loaded = load(tmp_path / "gda.safetensors")
    assert (loaded.saved.method, loaded.saved.encoder) == ("gda", "0123456789ab")
    assert loaded.saved.settings == {**estimator.settings_, "prototypes_source": "given"}
    assert loaded.class_names == NAMES
    np.testing.assert_array_equal(loaded.predict_proba(features), estimator.predict_proba(features))
    with pytest.raises(NotFittedError):
        FewShotClassifier().to_saved()


def test_a_grid_search_over_features_finds_a_method(shots: Arrays) -> None:
    that_know_nothing = np.random.default_rng(1).normal(size=(N_CLASSES, WIDTH))
    search = GridSearchCV(
        FewShotClassifier(prototypes=that_know_nothing, random_state=0),
        {"method": ["zero-shot", "gda"], "logit_scale": [50.0, 100.0]},
        cv=2,
        error_score="raise",
    ).fit(*shots)
    assert search.best_params_["method"] == "gda"
    assert pickle.loads(pickle.dumps(search)).score(*shots) == search.score(*shots)  # noqa: S301  # made here


@pytest.fixture(scope="module", name="digits")
def _digits(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """Paths of PNG and JPEG files of three digits, and their labels as words."""
    folder = tmp_path_factory.mktemp("digits")
    bunch = load_digits(n_class=3)
    chosen = np.concatenate([np.flatnonzero(bunch.target == label)[:12] for label in range(3)])
    paths = []
    for number in chosen.tolist():
        suffix = "png" if number % 2 else "jpg"
        path = folder / f"{number}.{suffix}"
        Image.fromarray(255 - (bunch.images[number] * 15.9).astype(np.uint8)).resize((32, 32)).save(
            path
        )
        paths.append(str(path))
    return np.array(paths, dtype=object), np.array(["zero", "one", "two"])[bunch.target[chosen]]


@pytest.fixture(scope="module", name="warm_root")
def _warm_root(digits: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the features of all digits, so that no model is loaded."""
    root = tmp_path_factory.mktemp("warm") / "store"
    CachedImageEncoder("glyphs", root=root).fit_transform(digits[0])
    return root


@pytest.fixture(name="encoded")
def _encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images of the batches that an encoder encodes meanwhile."""
    batches: list[int] = []
    encode = Encoder.encode_images

    def counted(self: Encoder, pixels: np.ndarray) -> np.ndarray:
        batches.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Encoder, "encode_images", counted)
    return batches


def test_a_pipeline_over_paths_encodes_each_image_once(
    digits: Arrays, root: Path, encoded: list[int]
) -> None:
    paths, labels = digits
    pipeline = make_pipeline(
        CachedImageEncoder("glyphs", root=root), FewShotClassifier("gda", random_state=0)
    )
    grid = {"fewshotclassifier__method": ["zero-shot", "gda"]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(paths, labels)
    assert sum(encoded) == len(paths)
    assert search.best_score_ > 0.7
    again = make_pipeline(CachedImageEncoder("glyphs", root=root), ClipAdapterClassifier(epochs=2))
    assert set(again.fit(paths, labels).predict(paths[:5])) <= set(labels)
    assert cross_val_score(clone(search.best_estimator_), paths, labels, cv=2).shape == (2,)
    assert sum(encoded) == len(paths)
    assert not again[0].encoding_.is_loaded


@pytest.mark.parametrize(
    "given",
    [
        list,
        partial(np.asarray, dtype=object),
        partial(np.asarray, dtype=str),
        lambda paths: np.asarray(paths, dtype=object)[:, None],
        lambda paths: [Path(path) for path in paths],
        lambda paths: pd.Series(list(paths)),
        lambda paths: pd.DataFrame({"path": list(paths)}),
    ],
)
def test_paths_are_taken_in_every_form(
    given: Callable[[Sequence[str]], Any], digits: Arrays, warm_root: Path
) -> None:
    paths = [*digits[0][:3], digits[0][0]]
    features = CachedImageEncoder("glyphs", root=warm_root).fit_transform(given(paths))
    assert features.dtype == np.float32
    assert len(features) == 4
    np.testing.assert_array_equal(features[0], features[3])
    assert not np.array_equal(features[0], features[1])


@pytest.mark.parametrize("wrong", ["one.png", [], [3], np.zeros((2, 2)), [["a.png", "b.png"]]])
def test_what_is_no_list_of_paths_is_refused(wrong: Any, warm_root: Path) -> None:
    with pytest.raises(DataError, match="expected"):
        CachedImageEncoder("glyphs", root=warm_root).fit(wrong)


def test_a_bad_image_is_named(digits: Arrays, warm_root: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    encoder = CachedImageEncoder("glyphs", root=warm_root).fit(digits[0])
    with pytest.raises(ImageError, match=r"broken\.png"):
        encoder.transform([digits[0][0], tmp_path / "broken.png"])
    with pytest.raises(ImageError, match=r"missing\.png"):
        encoder.transform([tmp_path / "missing.png"])


def test_an_encoder_tells_its_columns_and_survives_pickling(
    digits: Arrays, warm_root: Path
) -> None:
    encoder = CachedImageEncoder("glyphs", root=warm_root).set_output(transform="pandas")
    with pytest.raises(NotFittedError):
        encoder.transform(digits[0])
    frame = encoder.fit(digits[0]).transform(digits[0][:2])
    assert frame.columns[0] == "cachedimageencoder0"
    copy = pickle.loads(pickle.dumps(encoder))  # noqa: S301  # made here
    assert not copy.encoding_.is_loaded
    pd.testing.assert_frame_equal(copy.transform(digits[0][:2]), frame)


@pytest.mark.slow
def test_the_document_is_true(
    tmp_path: Path, put_photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for class_name in ("red", "green", "blue"):
        put_photos(tmp_path / "photos", class_name, range(6))
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "estimators.md", "exec"), names)  # noqa: S102  # our own text
    assert names["search"].best_score_ > 0.9
    assert names["classifier"].score(names["features"], names["labels"]) > 0.9
    assert (tmp_path / "colours.safetensors").is_file()


def test_a_model_that_does_not_exist_is_refused(digits: Arrays, warm_root: Path) -> None:
    with pytest.raises((EncoderError, UnknownNameError), match="glyfs"):
        CachedImageEncoder("glyfs", root=warm_root).fit_transform(digits[0])


@pytest.fixture(scope="module", name="unsorted")
def _unsorted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a classifier whose class names are not in sorted order."""
    labels = np.repeat(np.arange(N_CLASSES), 6)
    estimator = FewShotClassifier("gda", random_state=0).fit(features_of(labels), labels)
    saved = estimator.to_saved()
    names = ("plum", "apple", "pear")
    path = tmp_path_factory.mktemp("files") / "unsorted.safetensors"
    save_classifier(replace(saved, classifier=replace(saved.classifier, class_names=names)), path)
    return path


def test_a_trained_classifier_is_scored_as_scikit_learn_scores(unsorted: Path) -> None:
    labels = np.repeat(np.arange(N_CLASSES), 20)
    features = features_of(labels, seed=1)
    names = np.array(["plum", "apple", "pear"])[labels]
    trained = TrainedClassifier(unsorted).fit()
    assert trained.classes_.tolist() == ["apple", "pear", "plum"]
    assert trained.score(features, names) > 0.9
    loaded = load(unsorted)
    place = [loaded.class_names.index(name) for name in names]
    expected = -np.log(loaded.predict_proba(features)[np.arange(len(place)), place]).mean()
    found = -get_scorer("neg_log_loss")(trained, features, names)
    assert found == pytest.approx(expected, abs=1e-5)  # rounded to float32; unsorted it is above 1
    assert get_scorer("roc_auc_ovr")(trained, features, names) > 0.95
    scores = cross_val_score(TrainedClassifier(unsorted), features, names, cv=3)
    assert scores.min() > 0.8
    assert clone(trained).get_params() == trained.get_params()


def test_prediction_sets_have_the_columns_of_the_classes(unsorted: Path, tmp_path: Path) -> None:
    loaded = load(unsorted)
    labels = np.repeat(np.arange(N_CLASSES), 20)
    features = features_of(labels, seed=1)
    prototypes = np.eye(N_CLASSES, loaded.width, dtype=np.float32)
    numbers = np.linspace(0.3, 0.9, 30, dtype=np.float32)
    calibration = Calibration(
        label_probabilities=numbers,
        similarities=-numbers,
        class_prototypes=prototypes,
        images="validation",
    )
    file = tmp_path / "calibrated.safetensors"
    save_classifier(replace(loaded.saved, calibration=calibration), file)
    trained = TrainedClassifier(file).fit()
    found = trained.prediction_sets(features, coverage=0.8)
    assert found.dtype == np.bool_
    assert found.sum(axis=1).max() == 1
    has_one = found.any(axis=1)
    assert has_one.any()
    np.testing.assert_array_equal(
        trained.classes_[found[has_one].argmax(axis=1)], trained.predict(features)[has_one]
    )
    expected = load(file).prediction_sets(features, coverage=0.8)
    order = [loaded.class_names.index(name) for name in trained.classes_]
    np.testing.assert_array_equal(found, expected[:, order])


def test_a_trained_classifier_of_two_classes_has_one_column_of_logits(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 6)
    saved = FewShotClassifier("gda", random_state=0).fit(features_of(labels), labels).to_saved()
    save_classifier(saved, tmp_path / "two.safetensors")
    trained = TrainedClassifier(tmp_path / "two.safetensors").fit()
    logits = trained.decision_function(features_of(labels))
    assert logits.shape == (12,)
    np.testing.assert_array_equal(logits > 0, trained.predict(features_of(labels)) == "1")


def test_replaced_weights_do_not_get_into_the_features_of_others(
    digits: Arrays, tmp_path: Path, tiny_model: str, other_tiny_model: str
) -> None:
    """An encoder that was looked up, in this process or before it was pickled."""
    pictures = list(digits[0])
    first, second = (
        Path(name.removeprefix("local-dir:")) for name in (tiny_model, other_tiny_model)
    )
    folder = Path(shutil.copytree(first, tmp_path / "model"))
    encoder = CachedImageEncoder(f"local-dir:{folder}", root=tmp_path / "store")
    encoder.fit(pictures[:1]).transform(pictures[:1])
    looked_up = clone(encoder).fit(pictures[:1])
    assert looked_up.encoding_.known is not None
    pickled = pickle.dumps(looked_up)
    shutil.copytree(second, folder, dirs_exist_ok=True)
    with pytest.raises(EncoderError, match="its weights or options changed"):
        looked_up.transform(pictures[1:2])
    elsewhere = pickle.loads(pickled)  # noqa: S301  # our own
    feature = elsewhere.transform(pictures[1:2])
    expected = CachedImageEncoder(f"local-dir:{second}", root=tmp_path / "other")
    np.testing.assert_array_equal(feature, expected.fit(pictures[1:2]).transform(pictures[1:2]))
