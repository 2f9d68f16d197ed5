"""Stored features are found by key, or refused before anything is written."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from feature_cache import (
    CorruptFileError,
    FeatureStatistics,
    FeatureStore,
    InvalidInputError,
    NotStoredError,
    WrongSchemaError,
    list_files,
    stores,
    write_table,
)
from feature_cache.feature_table import Features

ENCODER = "0123456789abcdef" * 4
A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path, ENCODER)


def vectors(*firsts: float, width: int = 3) -> Features:
    """One row for each number: the number, then the ones after it."""
    return np.array([[first + step for step in range(width)] for first in firsts], np.float32)


def test_features_come_back_in_the_order_asked_for(store: FeatureStore) -> None:
    store.append_images([A, B], vectors(1, 2))
    store.append_images([C], vectors(3))
    np.testing.assert_array_equal(store.read_images([C, A, B, A]), vectors(3, 1, 2, 1))


def test_prompts_come_back_in_the_order_asked_for(store: FeatureStore) -> None:
    store.append_prompts(["a cat", "ein Kätzchen 🐈"], vectors(1, 2))
    found = store.read_prompts(["ein Kätzchen 🐈", "a cat"])
    np.testing.assert_array_equal(found, vectors(2, 1))


@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_features_keep_their_precision(store: FeatureStore, precision: type) -> None:
    store.append_images([A], vectors(1).astype(precision))
    assert store.read_images([A]).dtype == precision


@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_a_stranger_reads_the_features_with_duckdb(store: FeatureStore, precision: type) -> None:
    path = store.append_images([A, B], vectors(1, 2).astype(precision))
    with duckdb.connect() as connection:
        relation = connection.execute("SELECT feature FROM read_parquet(?) ORDER BY 1", [str(path)])
        assert relation.fetchall() == [([1.0, 2.0, 3.0],), ([2.0, 3.0, 4.0],)]


def test_features_may_be_a_strided_view_of_a_larger_array(store: FeatureStore) -> None:
    large = np.arange(24, dtype=np.float32).reshape(4, 6)
    store.append_images([A, B], large[::2, ::2])
    np.testing.assert_array_equal(store.read_images([A, B]), large[::2, ::2])


def test_what_is_read_may_be_changed_by_its_reader(store: FeatureStore) -> None:
    store.append_images([A], vectors(1))
    store.read_images([A])[0, 0] = 9
    np.testing.assert_array_equal(store.read_images([A]), vectors(1))


def test_views_of_an_image_are_kept_apart(store: FeatureStore) -> None:
    store.append_images([A, B], vectors(1, 2))
    store.append_images([A], vectors(5), view=7)
    np.testing.assert_array_equal(store.read_images([A], view=7), vectors(5))
    np.testing.assert_array_equal(store.read_images([A]), vectors(1))
    assert store.missing_images([A, B], view=7) == [B]


def test_digests_that_differ_only_in_trailing_zeros_are_kept_apart(store: FeatureStore) -> None:
    zeros, almost = bytes(32), bytes(31) + b"\x01"
    store.append_images([zeros, almost], vectors(1, 2))
    np.testing.assert_array_equal(store.read_images([almost, zeros]), vectors(2, 1))


def test_missing_images_are_told_in_order_and_once(store: FeatureStore) -> None:
    store.append_images([B], vectors(1))
    assert store.missing_images([C, B, A, C]) == [C, A]


def test_missing_prompts_are_told_in_order_and_once(store: FeatureStore) -> None:
    store.append_prompts(["b"], vectors(1))
    assert store.missing_prompts(["c", "b", "a", "c"]) == ["c", "a"]


def test_in_an_empty_store_everything_is_missing(store: FeatureStore) -> None:
    assert store.missing_images([A]) == [A]
    assert store.missing_prompts(["a"]) == ["a"]
    assert store.description() == {}


def test_reading_what_is_missing_says_how_much_of_how_much(store: FeatureStore) -> None:
    store.append_images([A], vectors(1))
    with pytest.raises(NotStoredError, match=r"^2 of 3 .* encoder 0123456789ab: extract"):
        store.read_images([A, B, C, C])


def test_reading_nothing_gives_nothing_of_the_right_width(store: FeatureStore) -> None:
    assert store.read_images([]).shape == (0, 0)
    store.append_images([A], vectors(1))
    assert store.read_images([]).shape == (0, 3)


def test_two_writers_of_the_same_work_count_once(store: FeatureStore) -> None:
    store.append_images([A, B], vectors(1, 2))
    store.append_images([B, A], vectors(2, 1))
    assert len(list_files(store.folder / "image")) == 2
    np.testing.assert_array_equal(store.read_images([A, B]), vectors(1, 2))
    assert store.statistics().n_images == 2


def test_of_two_features_for_one_key_the_first_file_by_name_counts(store: FeatureStore) -> None:
    by_path = {store.append_images([A], vectors(first)): first for first in (1, 2, 3)}
    np.testing.assert_array_equal(store.read_images([A]), vectors(by_path[min(by_path)]))


def test_a_deleted_file_means_missing_images(store: FeatureStore) -> None:
    store.append_images([A], vectors(1)).unlink()
    assert store.missing_images([A]) == [A]


def test_a_damaged_file_is_named_not_read(store: FeatureStore) -> None:
    path = store.append_images([A], vectors(1))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=path.name):
        store.read_images([A])
    with pytest.raises(CorruptFileError, match=path.name):
        store.missing_images([A])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((2, 3), np.float64), "float64, expected float32"),
        (np.zeros((2, 3), np.int32), "int32, expected float32"),
        (np.zeros((2, 3), ">f4"), "expected float32"),
        (np.zeros((3, 3), np.float32), r"\[3, 3\], expected \[2, d\]"),
        (np.zeros(2, np.float32), r"\[2\], expected \[2, d\]"),
        (np.zeros((2, 0), np.float32), r"\[2, 0\]"),
        (vectors(0, np.nan), "1 of 2 .* row 1"),
        (vectors(-np.inf, 0), "1 of 2 .* row 0"),
    ],
)
def test_features_that_cannot_be_stored_are_refused_before_writing(
    store: FeatureStore, features: Features, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        store.append_images([A, B], features)
    assert not store.folder.exists()


def test_no_features_at_all_are_refused(store: FeatureStore) -> None:
    with pytest.raises(InvalidInputError, match="no rows of kind 'image-features'"):
        store.append_images([], np.zeros((0, 3), np.float32))


def test_another_width_than_the_store_holds_is_refused(store: FeatureStore) -> None:
    store.append_images([A], vectors(1))
    with pytest.raises(InvalidInputError, match=r"width 4; .* width 3"):
        store.append_images([B], vectors(1, width=4))
    with pytest.raises(InvalidInputError, match=r"width 4; .* width 3"):
        store.append_prompts(["b"], vectors(1, width=4))
    assert store.missing_images([B]) == [B]


def test_another_precision_than_the_store_holds_is_refused(store: FeatureStore) -> None:
    store.append_prompts(["a"], vectors(1))
    with pytest.raises(InvalidInputError, match=r"halffloat.* has float"):
        store.append_images([A], vectors(1).astype(np.float16))


def test_two_widths_that_raced_into_a_store_are_not_mixed(store: FeatureStore) -> None:
    store.append_images([A], vectors(1))
    other = FeatureStore(store.root / "other", ENCODER)
    intruder = other.append_images([B], vectors(1, width=4))
    intruder.rename(store.folder / "image" / intruder.name)
    with pytest.raises(WrongSchemaError, match="delete one of the two"):
        store.read_images([A, B])


def test_a_file_without_features_is_refused(store: FeatureStore) -> None:
    stray = pa.table({"feature": ["not", "numbers"]})
    write_table(store.folder / "image", stray, kind="image-features")
    with pytest.raises(WrongSchemaError, match="stored as string"):
        store.append_images([A], vectors(1))


def test_a_description_reads_back_sorted_by_field(store: FeatureStore) -> None:
    fields = {"model": "ViT-B-32", "interpolation": "bicubic"}
    store.describe(fields)
    store.describe(dict(reversed(fields.items())))
    assert list(store.description().items()) == sorted(fields.items())
    assert len(list_files(store.folder / "encoder")) == 1


def test_statistics_count_what_is_there(store: FeatureStore) -> None:
    assert store.statistics() == FeatureStatistics(0, 0, 0, 0, 0, 0)
    paths = [
        store.append_images([A, B], vectors(1, 2)),
        store.append_images([A], vectors(3), view=1),
        store.append_prompts(["a"], vectors(4)),
        store.describe({"model": "glyphs"}),
    ]
    size_bytes = sum(path.stat().st_size for path in paths)
    assert store.statistics() == FeatureStatistics(2, 3, 1, 4, size_bytes, 3)


def test_every_encoder_under_a_root_is_found_and_strangers_are_not(tmp_path: Path) -> None:
    assert stores(tmp_path) == []
    for name in ("f" * 64, "0" * 64, "NOTES", ".hidden"):
        (tmp_path / "features" / name).mkdir(parents=True)
    (tmp_path / "features" / ("a" * 64)).write_text("a file, not a folder")
    assert [store.encoder for store in stores(tmp_path)] == ["0" * 64, "f" * 64]


def test_blocks_hold_every_stored_feature_once_with_its_place(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_cache.feature_table._BYTES_AT_ONCE", 24)  # two rows
    digests = [bytes([number]) * 32 for number in range(9)]
    store.append_images(digests[:5], vectors(*range(5)))
    store.append_images(digests[4:8], vectors(*range(4, 8)))
    store.append_images(digests[:2], vectors(90, 91), view=1)
    asked = [digests[8], *reversed(digests[:8]), digests[3]]
    blocks = list(store.image_blocks(asked))
    assert len(blocks) >= 4
    found = {
        place: features.tolist()
        for places, block in blocks
        for place, features in zip(places.tolist(), block, strict=True)
    }
    assert sum(len(places) for places, _ in blocks) == len(found)
    assert found == {
        place: vectors(digest[0])[0].tolist()
        for place, digest in enumerate(asked)
        if digest != digests[8]
    }
    assert list(store.image_blocks([digests[8]])) == []


def test_blocks_of_two_widths_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    store.append_images([A], vectors(1))
    other = FeatureStore(tmp_path / "other", ENCODER)
    path = other.append_images([B], vectors(1, width=4))
    path.rename(list_files(store.folder / "image")[0].parent / path.name)
    with pytest.raises(WrongSchemaError, match="of width"):
        list(store.image_blocks([A, B]))
