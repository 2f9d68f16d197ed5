"""clip-retrieval's folder as it is read: labels from its metadata, shards in their order."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_samples import assert_same, sample

from feature_cache.exchange import (
    InvalidImportError,
    read_clip_retrieval,
    write_clip_retrieval,
)

PATHS = ["data/lake/1.jpg", "data/river/2.jpg"]


def put_shard(folder: Path, number: str, rows: Any, **columns: Any) -> Path:
    """One shard as clip-retrieval lays it down."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / f"img_emb_{number}.npy", np.asarray(rows, np.float16))
    pq.write_table(pa.table(columns), folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def test_a_folder_of_class_folders_is_read_by_the_paths_of_its_images(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), image_path=PATHS, caption=["a lake", "a river"])
    found = read_clip_retrieval(tmp_path, class_from_folder=True)
    assert (found.class_names, found.labels.tolist()) == (("lake", "river"), [0, 1])
    assert (found.paths, found.features.dtype) == (tuple(PATHS), np.float16)
    assert not found.have_image_digests


def test_without_any_labels_it_says_how_to_name_them(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), image_path=PATHS)
    with pytest.raises(InvalidImportError, match="neither of labels nor of class names"):
        read_clip_retrieval(tmp_path)


def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 0):
        rows = np.full((2, 3), number + 1)
        put_shard(tmp_path, str(number), rows, label=[0, 0], class_name=["sea", "sea"])
    found = read_clip_retrieval(tmp_path)
    assert found.features[:, 0].tolist() == [1, 1, 10, 10, 11, 11]


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), y=["b", "a"], part=["train", "validation"], label=[7, 8])
    columns = {"label": "y", "split": "part"}
    found = read_clip_retrieval(tmp_path, names=columns)
    assert (found.class_names, found.labels.tolist()) == (("a", "b"), [1, 0])
    assert found.splits == ("train", "val")


def test_a_column_that_was_given_must_be_there(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"])
    with pytest.raises(InvalidImportError, match=r"metadata_0\.parquet .* no column \['part'\]"):
        read_clip_retrieval(tmp_path, names={"split": "part"})


def test_a_column_that_only_some_shards_have_is_refused(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"], split=["train", "train"])
    put_shard(tmp_path, "1", np.eye(2), label=["a", "b"])
    with pytest.raises(InvalidImportError, match=r"no column \['split'\]"):
        read_clip_retrieval(tmp_path)


def test_digests_are_used_where_they_are_known(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"], sha256=["ab" * 32, "cd" * 32])
    assert read_clip_retrieval(tmp_path).image_sha256 == (b"\xab" * 32, b"\xcd" * 32)


@pytest.mark.parametrize("digests", [[None, None], pa.nulls(2, pa.string())])
def test_digests_that_were_not_computed_are_made_from_the_rows(
    tmp_path: Path, digests: Any
) -> None:
    digests = pa.array(digests, pa.string())
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"], sha256=digests)
    assert not read_clip_retrieval(tmp_path).have_image_digests


@pytest.mark.parametrize("digests", [["ab" * 32, None], ["ab" * 32, "xyz"], [1, 2], [0.5, 0.5]])
def test_digests_that_are_none_are_refused(tmp_path: Path, digests: list[Any]) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"], sha256=digests)
    with pytest.raises(InvalidImportError, match="sha256"):
        read_clip_retrieval(tmp_path)
    assert len(read_clip_retrieval(tmp_path, names={"sha256": None})) == 2


@pytest.mark.parametrize(
    ("labels", "names", "reason"),
    [
        ([0, 0], ["a", "b"], "label 0 is called 'a' and 'b'"),
        ([0, 2], ["a", "b"], "give class_names"),
        ([0.0, 1.0], ["a", "b"], "column 'label' is double"),
        ([0, None], ["a", "b"], "with 1 nulls"),
        (["a", None], ["a", "b"], "no text"),
    ],
)
def test_labels_and_names_that_contradict_each_other_are_refused(
    tmp_path: Path, labels: Any, names: Any, reason: str
) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=labels, class_name=names)
    with pytest.raises(InvalidImportError, match=reason):
        read_clip_retrieval(tmp_path)


def test_a_shard_and_its_metadata_must_be_equally_long(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b", "a"])
    with pytest.raises(InvalidImportError, match="it has 3 rows, its shard 2"):
        read_clip_retrieval(tmp_path)


@pytest.mark.parametrize("gone", ["metadata/metadata_1.parquet", "img_emb/img_emb_1.npy"])
def test_a_shard_without_its_other_half_is_refused(tmp_path: Path, gone: str) -> None:
    for number in "01":
        put_shard(tmp_path, number, np.eye(2), label=["a", "b"])
    (tmp_path / gone).unlink()
    with pytest.raises(InvalidImportError, match=r"shards \[1\]"):
        read_clip_retrieval(tmp_path)


def test_two_shards_of_one_number_are_refused(tmp_path: Path) -> None:
    for number in ("1", "01"):
        put_shard(tmp_path, number, np.eye(2), label=["a", "b"])
    with pytest.raises(InvalidImportError, match="keep one of the two"):
        read_clip_retrieval(tmp_path)


def test_a_folder_without_shards_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match="give the folder above"):
        read_clip_retrieval(tmp_path)


def test_shards_of_different_width_are_refused(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"])
    put_shard(tmp_path, "1", np.eye(3), label=["a", "b", "a"])
    with pytest.raises(InvalidImportError, match=r"img_emb_1\.npy .* of the same width"):
        read_clip_retrieval(tmp_path)


def test_pickled_shards_are_refused(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"])
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(InvalidImportError, match=r"img_emb_0.*pickled Python objects"):
        read_clip_retrieval(tmp_path)


def test_the_limit_is_for_all_shards_together(tmp_path: Path) -> None:
    for number in "01":
        put_shard(tmp_path, number, np.eye(8), label=["a"] * 8)
    assert len(read_clip_retrieval(tmp_path, max_bytes=256)) == 16
    with pytest.raises(InvalidImportError, match=r"img_emb_1.* at most"):
        read_clip_retrieval(tmp_path, max_bytes=255)


def test_metadata_that_declare_too_much_are_refused(tmp_path: Path) -> None:
    put_shard(tmp_path, "0", np.eye(2), label=["a", "b"], caption=["x" * 5000, "y" * 5000])
    with pytest.raises(InvalidImportError, match=r"metadata_0.*columns declare .* at most 5,000"):
        read_clip_retrieval(tmp_path, max_bytes=5000)


def test_a_long_text_of_many_rows_is_never_expanded(tmp_path: Path) -> None:
    paths = pa.array(["x" * 1_000_000]).take(pa.array(np.zeros(100, np.int64)))
    put_shard(tmp_path, "0", np.ones((100, 2)), label=["a"] * 100, image_path=paths)
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert len(read_clip_retrieval(tmp_path)) == 100
    finally:
        pa.set_memory_pool(usual)
    assert pool.max_memory() < 20_000_000  # 100 copies of the text would take 100 MB


def test_a_long_text_in_every_row_is_in_memory_once(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    put_shard(tmp_path, "0", np.eye(2), label=["a", "a"], image_path=[long, long])
    one, other = read_clip_retrieval(tmp_path).paths or ()
    assert one is other


def test_text_features_of_classes_are_read_on_request(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "out", sample(), keep_precision=True, rows_per_shard=4)
    assert read_clip_retrieval(folder).text_features is None
    found = read_clip_retrieval(folder, text_by_class=True)
    assert_same(found, sample(), but="source logit_scale logit_bias")


def test_captions_of_images_are_not_taken_for_text_of_classes(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "out", sample(), rows_per_shard=9)
    np.save(folder / "text_emb" / "text_emb_0.npy", sample().features)
    with pytest.raises(InvalidImportError, match="captions of images"):
        read_clip_retrieval(folder, text_by_class=True)
