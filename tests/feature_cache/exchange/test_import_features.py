from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_samples import sample

from feature_cache import (
    FeatureStore,
    IndexStore,
    InvalidInputError,
    NotStoredError,
    drop_unreferenced,
)
from feature_cache.exchange import (
    ClassTexts,
    Imported,
    InvalidImportError,
    LabelledFeatures,
    find_imported,
    import_features,
    imported_names,
    row_ids,
    texts_of_file,
)


def put(root: Path, features: LabelledFeatures, **changes: Any) -> Imported:
    asked = {"name": "cover", "label": "theirs", "texts": texts_of_file(features)} | changes
    return import_features(root, features, **asked)


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_was_imported_is_found_by_its_name(root: Path) -> None:
    features = sample(9)
    done = put(root, features)
    assert (done.n_images, done.n_new, done.n_new_prompts) == (9, 9, 3)
    found = find_imported(root, "cover")
    assert imported_names(root) == ["cover"]
    assert (found.encoder, found.index_fingerprint) == (done.encoder, done.index_fingerprint)
    assert (found.class_names, found.templates) == (features.class_names, ("{}",))
    assert (found.label, found.precision) == ("theirs", "float32")
    assert (found.logit_scale, found.logit_bias) == (100.0, -10.0)
    store = FeatureStore(root, found.encoder)
    np.testing.assert_array_equal(store.read_images(features.image_sha256), features.features)
    np.testing.assert_array_equal(store.read_prompts(features.class_names), features.text_features)
    table = IndexStore(root, "cover").read(found.index_fingerprint)
    assert table.column("split").to_pylist() == list(features.splits or ())
    assert table.column("path").to_pylist() == list(features.paths or ())
    found.check_complete()


def test_the_same_content_again_writes_nothing(root: Path) -> None:
    put(root, sample())
    before = files(root)
    again = put(root, sample())
    assert (again.n_new, again.n_new_prompts) == (0, 0)
    assert files(root) == before


def test_rows_that_repeat_are_stored_once(root: Path) -> None:
    rows = np.ones((4, 2), np.float32)
    features = sample(4, features=rows, image_sha256=None, text_features=rows[:3])
    done = put(root, features)
    assert (done.n_images, done.n_new) == (1, 1)
    index = IndexStore(root, "cover").read(done.index_fingerprint)
    assert index.column("image_sha256").to_pylist() == list(row_ids(rows))


def test_of_rows_with_one_digest_the_first_is_stored(root: Path) -> None:
    rows = np.ones((4, 2), np.float32) * np.array([1, 1.001, 1.002, 1.003], np.float32)[:, None]
    digests = [bytes(32)] * 3 + [b"x" * 32]
    features = sample(4, features=rows, image_sha256=digests, text_features=rows[:3])
    done = put(root, features)
    found = FeatureStore(root, done.encoder).read_images(digests)
    np.testing.assert_array_equal(found, rows[[0, 0, 0, 3]])


@pytest.mark.parametrize("label", ["", " ", "\x1b[2J", "two\nlines"])
def test_a_label_that_cannot_be_printed_is_refused(root: Path, label: str) -> None:
    with pytest.raises(InvalidImportError, match="label is empty or cannot be printed"):
        put(root, sample(), label=label)
    assert not root.exists()


def test_rows_without_paths_are_numbered(root: Path) -> None:
    done = put(root, sample(paths=None))
    index = IndexStore(root, "cover").read(done.index_fingerprint)
    assert index.column("path").to_pylist()[:2] == ["row/000000", "row/000001"]
    assert set(index.column("width").to_pylist()) == {0}


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0, 1, 2, 0, 2, 1])},
        {"splits": ("train",) * 6},
        {"class_names": ("a", "b", "c")},
        {"logit_scale": 50.0},
        {"text_features": np.eye(3, 4, dtype=np.float32)},
        {"features": np.ones((6, 4), np.float32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_content_under_the_same_name_is_refused_and_writes_nothing(
    root: Path, changes: dict[str, Any]
) -> None:
    put(root, sample())
    before = files(root)
    with pytest.raises(InvalidImportError, match=r"choose another --name|another --label"):
        put(root, replace(sample(), **changes))
    assert files(root) == before


def test_the_bias_is_recorded_and_identifies_nothing(root: Path) -> None:
    without = put(root, sample(logit_bias=None))
    assert find_imported(root, "cover").logit_bias is None
    again = put(root, sample())  # as it is imported again from a file of a later version
    assert (again.encoder, again.index_fingerprint, again.n_new) == (
        without.encoder,
        without.index_fingerprint,
        0,
    )
    assert find_imported(root, "cover").logit_bias == -10.0


def test_a_bias_without_its_scale_is_refused(root: Path) -> None:
    with pytest.raises(InvalidImportError, match="a logit_bias and no logit_scale"):
        put(root, sample(logit_scale=None))
    assert not root.exists()


def test_another_label_is_another_encoder(root: Path) -> None:
    one = put(root, sample())
    other = put(root, sample(), name="cover-2", label="others")
    assert one.encoder != other.encoder
    assert other.n_new == 6


@pytest.mark.parametrize("what", ["made_by", "templates", "logit_scale"])
def test_texts_made_otherwise_are_another_encoder(root: Path, what: str) -> None:
    texts = texts_of_file(sample())
    other = replace(texts, **{what: {"templates": ("a {}.",), "logit_scale": 1.0}.get(what, "m")})
    assert put(root, sample()).encoder != put(root, sample(), name="cover-2", texts=other).encoder


def test_one_label_shares_features_between_datasets(root: Path) -> None:
    texts = ClassTexts(
        templates=("{}",), features=np.eye(3, 4, dtype=np.float32), made_by="m", logit_scale=1.0
    )
    one = put(root, sample(), texts=texts)
    other = put(root, sample(), texts=texts, name="cover-2")
    assert one.encoder == other.encoder
    assert other.n_new == 0
    assert find_imported(root, "cover-2").index_fingerprint == other.index_fingerprint


def test_neither_images_nor_texts_lose_precision(root: Path) -> None:
    halves = sample().features.astype(np.float16)
    features = sample(features=halves)
    done = put(root, features)
    store = FeatureStore(root, done.encoder)
    assert find_imported(root, "cover").precision == "float32"
    np.testing.assert_array_equal(store.read_images(features.image_sha256), halves)
    np.testing.assert_array_equal(store.read_prompts(features.class_names), features.text_features)


def test_training_views_come_along(root: Path) -> None:
    views = np.stack([sample().features + 1, sample().features + 2])
    done = put(root, sample(views=views))
    assert done.n_new == 18
    found = FeatureStore(root, done.encoder).read_images(sample().image_sha256, view=2)
    np.testing.assert_array_equal(found, views[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_features": None}, "--text-model"),
        ({"splits": None}, "no splits"),
        ({"class_names": ["a", "b", "c", "d"], "text_features": np.eye(4, 4)}, "no rows"),
        ({"text_features": np.zeros((3, 4), np.float32)}, "is zero"),
    ],
)
def test_what_could_not_be_trained_on_is_refused(
    root: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidImportError, match=words):
        put(root, sample(**changes))
    assert not root.exists()


def test_texts_of_another_width_are_refused(root: Path) -> None:
    with pytest.raises(InvalidImportError, match=r"\[3, 5\], expected \[3, 4\]"):
        put(root, sample(), texts=texts_of_file(sample(d=5)))


@pytest.mark.parametrize("name", ["", "../up", "Flowers", "a--b", "a_b"])
def test_a_name_that_is_no_folder_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="use a-z, 0-9"):
        put(root, sample(), name=name)


def test_an_unknown_name_suggests_the_nearest(root: Path) -> None:
    with pytest.raises(NotStoredError, match="nothing was, so far"):
        find_imported(root, "cover")
    put(root, sample())
    with pytest.raises(NotStoredError, match="did you mean 'cover'"):
        find_imported(root, "covr")


@pytest.mark.parametrize("folder", ["features/*/image", "features/*/text", "datasets/cover/images"])
def test_what_is_lost_is_named_and_the_same_import_brings_it_back(root: Path, folder: str) -> None:
    put(root, sample())
    before = files(root)
    for path in root.glob(f"{folder}/*.parquet"):
        path.unlink()
    with pytest.raises(NotStoredError, match="cache import PATH --name cover"):
        find_imported(root, "cover").check_complete()
    put(root, sample())
    assert files(root) == before


def test_garbage_is_collected_in_the_middle_of_an_import_without_loss(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = FeatureStore.append_images

    def append_and_collect(store: FeatureStore, *args: Any, **kwargs: Any) -> Any:
        written = append(store, *args, **kwargs)
        assert list(drop_unreferenced(root, dry_run=False)) == []
        return written

    monkeypatch.setattr(FeatureStore, "append_images", append_and_collect)
    put(root, sample())
    find_imported(root, "cover").check_complete()
