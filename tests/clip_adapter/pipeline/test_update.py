"""Corrected images give the classifier that a fit to them gives, without another look at the rest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from steps import train_methods
from synthetic_datasets import SyntheticDatasets

from clip_adapter.errors import DataError, UnknownNameError
from clip_adapter.methods import (
    FewShotTask,
    class_prototypes,
    create_method,
    decode_classifier,
    encode_classifier,
)
from clip_adapter.methods.fitting.class_moments import ClassMoments, unit_rows
from clip_adapter.pipeline import update as module
from clip_adapter.pipeline.load import load
from clip_adapter.pipeline.update import UpdatableClassifier, update
from clip_adapter.runs import query
from feature_cache import FeatureStore, IndexStore, NotStoredError

ENCODER = "ab" * 32
GRIDS = {"ridge-to-text": "penalties", "gda": "alphas"}
POINTS = {"ridge-to-text": "penalty", "gda": "alpha"}
Open = Callable[[str], UpdatableClassifier]


@pytest.fixture(scope="module", name="trained")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with runs of three methods on images of three classes."""
    root = tmp_path_factory.mktemp("update") / "store"
    encoded = SyntheticDatasets(root).make_dataset(telling_prompts=True)
    train_methods(encoded, methods=["zero-shot", *GRIDS], shots=[4], seeds=[1])
    return root


@pytest.fixture(name="open_run")
def _open_run(trained: Path) -> Open:
    """Opens the run of a method, unchanged."""
    return lambda method: update(run_of(trained, method), root=trained)


def run_of(root: Path, method: str) -> str:
    found = query(root, "SELECT run_id FROM runs WHERE method = $method", {"method": method})
    return f"run:{found['run_id'][0].as_py()}"


def pool_of(root: Path) -> dict[str, str]:
    """The class of every image of the dataset's training split, by digest."""
    store = IndexStore(root, "gallery")
    (state,) = store.fingerprints()
    rows = store.read(state).select(["image_sha256", "class_name", "split"]).to_pylist()
    return {row["image_sha256"].hex(): row["class_name"] for row in rows if row["split"] == "train"}


def in_words(prompts: list[str]) -> np.ndarray:
    drawn = [np.random.default_rng(list(each.encode())).normal(size=8) for each in prompts]
    return np.array(drawn, dtype=np.float32)


def computed_anew(root: Path, found: UpdatableClassifier) -> UpdatableClassifier:
    """The classifier from sums over all of its images."""
    rows = unit_rows(FeatureStore(root, ENCODER).read_images([key for key, _ in found.images]))
    labels = np.array([found.class_names.index(label) for _, label in found.images])
    return replace(found, moments=ClassMoments.of(rows, labels, len(found.class_names)))


def fitted_anew(root: Path, found: UpdatableClassifier, prompts: np.ndarray) -> np.ndarray:
    """Logits of the method's own fit to the images, with the setting that the run chose."""
    method = create_method(
        found.run.method,
        {GRIDS[found.run.method]: [found.settings[POINTS[found.run.method]]]},
    )
    rows = FeatureStore(root, ENCODER).read_images([key for key, _ in found.images])
    task = FewShotTask(
        train_features=rows,
        train_labels=np.array([found.class_names.index(label) for _, label in found.images]),
        val_features=rows[:0],
        val_labels=np.zeros(0, np.int64),
        prompt_features=prompts,
        logit_scale=found.run.logit_scale,
        class_names=found.class_names,
        shots=4,
        seed=1,
    )
    (fitted,) = method.fit([task])
    logits: np.ndarray = fitted.classifier.logits(pictures(root))
    return logits


def pictures(root: Path) -> np.ndarray:
    digests = [bytes.fromhex(each) for each in pool_of(root)]
    return FeatureStore(root, ENCODER).read_images(digests).astype(np.float32)


@pytest.mark.parametrize("method", GRIDS)
def test_without_an_edit_it_is_the_classifier_of_the_run(
    open_run: Open, trained: Path, method: str
) -> None:
    found, loaded = open_run(method).saved, load(run_of(trained, method), root=trained).saved
    np.testing.assert_array_equal(
        found.classifier.logits(pictures(trained)), loaded.classifier.logits(pictures(trained))
    )
    assert {**loaded.settings, "edited_images": 0} == found.settings
    assert found.metadata is not None
    assert loaded.metadata is not None
    assert found.metadata.temperature == loaded.metadata.temperature
    assert found.metadata.scores == ()
    assert loaded.metadata.scores != ()


@pytest.mark.parametrize("method", GRIDS)
def test_a_thousand_random_edits_equal_a_fit_to_the_edited_images(
    open_run: Open, trained: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty updates, with classes that come and go; the sums are never computed anew."""
    monkeypatch.setattr(module, "MOST_EDITS", 10**9)
    found, pool = open_run(method), list(pool_of(trained))
    generator = np.random.default_rng(0)
    sizes = set()
    for step in range(60):
        held, used = dict(found.images), {label for _, label in found.images}
        more = [f"class {step}"] if step % 4 == 0 else []
        fewer = [found.class_names[0]] if step % 8 == 3 and len(used) > 3 else []
        names = [name for name in (*found.class_names, *more) if name not in fewer]
        held = {key: label for key, label in held.items() if label not in fewer}
        edits: dict[str, str | None] = {}
        for digest in generator.permutation(pool)[:24].tolist():
            is_held = bytes.fromhex(digest) in held
            is_removed = is_held and generator.random() < 0.4
            # Half of the images go to the first class, so that classes are unbalanced.
            label = names[max(0, int(generator.integers(-len(names), len(names))))]
            edits[digest] = None if is_removed else label
        edits |= dict(zip(pool, names, strict=False))  # no class stays empty
        found = update(
            found, edits, add_classes=more, remove_classes=fewer, encode_prompts=in_words
        )
        sizes.add(len(found.class_names))
        for edited, anew in zip(
            found.weights(), computed_anew(trained, found).weights(), strict=True
        ):
            np.testing.assert_allclose(edited, anew, rtol=0, atol=1e-8)
    assert found.n_edits >= 1_000
    assert sizes >= {3, 4, 5, 6}
    # Single precision: logits of up to 100.
    prompts = found.prototypes[:, None]
    np.testing.assert_allclose(
        found.saved.classifier.logits(pictures(trained)),
        fitted_anew(trained, found, prompts),
        atol=1e-4,
    )


@pytest.mark.parametrize("method", GRIDS)
def test_a_corrected_label_moves_the_image_to_its_class(open_run: Open, method: str) -> None:
    before = open_run(method)
    digest, label = before.images[0]
    after = update(before, {digest.hex(): "hen" if label != "hen" else "cat"})
    assert after.n_edits == 1
    assert dict(after.images)[digest] != label
    assert dict(before.images)[digest] == label
    assert not np.array_equal(after.weights()[0], before.weights()[0])
    back = update(after, {digest.hex(): label})
    np.testing.assert_allclose(back.weights()[0], before.weights()[0], atol=1e-8)
    assert update(back, {digest.hex(): label}).n_edits == back.n_edits == 2


@pytest.mark.parametrize("method", GRIDS)
def test_only_changed_images_are_read(
    open_run: Open, trained: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, read = open_run(method), []
    plain = FeatureStore.read_images

    def watched(store: FeatureStore, digests: list[bytes], *, view: int = 0) -> np.ndarray:
        read.extend(digests)
        return plain(store, digests, view=view)

    monkeypatch.setattr(FeatureStore, "read_images", watched)
    held = dict(found.images)
    other = next(key for key in map(bytes.fromhex, pool_of(trained)) if key not in held)
    gone = found.images[0][0]
    assert (
        update(found, {other.hex(): "cat", gone.hex(): None}).saved.settings["edited_images"] == 2
    )
    assert sorted(read) == sorted([other, gone])


def test_after_many_edits_the_sums_are_computed_anew(
    open_run: Open, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_EDITS", 2)
    found = open_run("gda")
    broken = np.full_like(found.moments.gram, np.nan)
    monkeypatch.setattr(ClassMoments, "remove", lambda moments, *_: replace(moments, gram=broken))
    (first, _), (second, _) = found.images[:2]
    found = update(found, {first.hex(): "hen", second.hex(): "hen"})
    assert np.isfinite(found.moments.gram).all()
    np.testing.assert_allclose(found.weights()[0], computed_anew(trained, found).weights()[0])


@pytest.mark.parametrize("method", GRIDS)
def test_classes_are_added_behind_the_others_and_removed_with_their_images(
    open_run: Open, trained: Path, method: str
) -> None:
    found, pool = open_run(method), pool_of(trained)
    new = [digest for digest in pool if bytes.fromhex(digest) not in dict(found.images)][:2]
    found = update(
        found,
        dict.fromkeys(new, "owl"),
        add_classes=["owl"],
        remove_classes=["dog"],
        encode_prompts=in_words,
    )
    assert found.class_names == found.saved.classifier.class_names == ("cat", "hen", "owl")
    assert [label for _, label in found.images].count("owl") == 2
    assert "dog" not in dict(found.images).values()
    np.testing.assert_array_equal(
        found.prototypes[2], class_prototypes(in_words(["a owl."])[None])[0]
    )
    assert found.saved.metadata is not None
    assert found.saved.metadata.n_train == len(found.images) == 10
    again = decode_classifier(encode_classifier(found.saved), source="x")
    np.testing.assert_array_equal(
        again.classifier.logits(pictures(trained)),
        found.saved.classifier.logits(pictures(trained)),
    )


def test_prompts_of_a_class_that_the_store_has_are_not_encoded(
    open_run: Open, trained: Path
) -> None:
    FeatureStore(trained, ENCODER).append_prompts(["a emu."], in_words(["a emu."]))
    digest = next(iter(pool_of(trained)))
    found = update(open_run("gda"), {digest: "emu"}, add_classes=["emu"])
    np.testing.assert_array_equal(
        found.prototypes[-1], class_prototypes(in_words(["a emu."])[None])[0]
    )


def test_what_cannot_be_done_is_refused_and_changes_nothing(open_run: Open, trained: Path) -> None:
    found, pool = open_run("gda"), pool_of(trained)
    held = dict(found.images)
    absent = next(digest for digest in pool if bytes.fromhex(digest) not in held)
    with pytest.raises(DataError, match=f"image {absent} cannot be removed"):
        update(found, {absent: None})
    with pytest.raises(UnknownNameError, match="unknown class 'hens': did you mean 'hen'"):
        update(found, {absent: "hens"})
    with pytest.raises(UnknownNameError, match="unknown class 'dogs'"):
        update(found, remove_classes=["dogs"])
    with pytest.raises(DataError, match="'beef' is no digest of an image"):
        update(found, {"beef": "cat"})
    with pytest.raises(DataError, match="there is a class 'cat' already"):
        update(found, add_classes=["Cat"])
    with pytest.raises(DataError, match=r"1 of 4 classes would have no image \('owl'\)"):
        update(found, add_classes=["owl"])
    with pytest.raises(DataError, match=r"1 of 3 classes would have no image \('cat'\)"):
        update(found, {key.hex(): None for key, label in found.images if label == "cat"})
    with pytest.raises(DataError, match="1 classes would be left: expected two or more"):
        update(found, remove_classes=["cat", "dog"])
    with pytest.raises(NotStoredError, match="1 of 1 features are missing"):
        update(found, {"00" * 32: "cat"})
    assert dict(found.images) == held


def test_other_methods_are_refused_with_the_names_of_those_that_can(trained: Path) -> None:
    with pytest.raises(
        DataError, match=r"zero-shot cannot be updated.* expected one of .*gda or ridge-to-text"
    ):
        update(run_of(trained, "zero-shot"), root=trained)
    with pytest.raises(DataError, match=r"'a\.safetensors' names no run"):
        update("a.safetensors", root=trained)


def test_views_are_features_of_their_own(root: Path) -> None:
    encoded = SyntheticDatasets(root).make_dataset()
    keys = [bytes.fromhex(digest) for digest in pool_of(root)]
    store = FeatureStore(root, ENCODER)
    for view in (1, 2):
        noise = np.random.default_rng(view).normal(size=(len(keys), 8))
        store.append_images(keys, (store.read_images(keys) + noise).astype(np.float32), view=view)
    encoded = replace(encoded, augmented_views=(1, 2))
    train_methods(encoded, methods=["gda"], shots=[4], seeds=[1], settings={"gda": {"views": 2}})
    found = update(run_of(root, "gda"), root=root)
    loaded = load(run_of(root, "gda"), root=root).saved.classifier
    np.testing.assert_array_equal(
        found.saved.classifier.logits(pictures(root)), loaded.logits(pictures(root))
    )
    held = dict(found.images)
    new = next(key for key in keys if key not in held)
    found = update(found, {new.hex(): "cat", found.images[0][0].hex(): None})
    assert found.moments.counts.sum() == 2 * len(found.images) == 24
    rows = np.concatenate([store.read_images([k for k, _ in found.images], view=v) for v in (1, 2)])
    labels = [found.class_names.index(label) for _, label in found.images] * 2
    anew = ClassMoments.of(unit_rows(rows), np.array(labels), 3)
    np.testing.assert_allclose(
        found.weights()[0], replace(found, moments=anew).weights()[0], atol=1e-8
    )


def test_a_champion_is_updated_as_its_run(trained_digits: Path) -> None:
    (row,) = query(trained_digits, "SELECT run_id, method FROM champion").to_pylist()
    assert row["method"] == "gda"
    champion = update("champion:digits", root=trained_digits)
    kept = load("champion:digits", root=trained_digits).saved.classifier
    features = FeatureStore(trained_digits, champion.run.encoder).read_images(
        [key for key, _ in champion.images]
    )
    np.testing.assert_array_equal(champion.saved.classifier.logits(features), kept.logits(features))
    assert champion.run.run_id == row["run_id"]
    digest, label = champion.images[0]
    ten = update(champion, {digest.hex(): "ten"}, add_classes=["ten"])  # by the encoder's own tower
    assert ten.saved.classifier.logits(features).shape == (len(features), 11)
    assert label != "ten"
