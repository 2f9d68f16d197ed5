"""Archives of arrays: which names are read, and which files are refused before they do harm."""

import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_samples import assert_same, sample

from feature_cache import InvalidInputError
from feature_cache.exchange import InvalidImportError, limits, read_npz, write_npz

FEATURES = np.eye(4, dtype=np.float32)
LABELS = np.array([0, 1, 0, 1])
NAMES = np.array(["river", "lake"])


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def zip_of(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def header(description: str) -> bytes:
    text = description.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_the_usual_names_are_enough(tmp_path: Path) -> None:
    path = save(tmp_path / "water.npz", features=FEATURES, labels=LABELS, class_names=NAMES)
    found = read_npz(path)
    np.testing.assert_array_equal(found.features, FEATURES)
    assert (found.labels.tolist(), found.class_names) == ([0, 1, 0, 1], ("river", "lake"))
    assert (found.source, found.splits, found.text_features) == ("water", None, None)


def test_numpy_reads_what_is_written_without_pickle(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "out.npz", sample())
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays.files) == set(vars(sample())) - {"source", "views", "description"}
        np.testing.assert_array_equal(arrays["features"], sample().features)
        assert arrays["class_names"].tolist() == ["Annual Crop", "Forest", "Sea/Lake"]


def test_a_compressed_archive_reads_like_any(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    np.savez_compressed(path, features=FEATURES, labels=LABELS, class_names=NAMES)
    np.testing.assert_array_equal(read_npz(path).features, FEATURES)


def test_other_names_can_be_given(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", shots_2_features=FEATURES, y=LABELS, class_names=NAMES)
    found = read_npz(path, names={"features": "shots_2_features", "labels": "y"})
    assert found.labels.tolist() == [0, 1, 0, 1]


def test_a_name_that_was_given_must_be_there(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", features=FEATURES, labels=LABELS, class_names=NAMES)
    with pytest.raises(InvalidImportError, match="no array 'part', it has class_names, features"):
        read_npz(path, names={"splits": "part"})


def test_an_array_can_be_left_out_by_name(tmp_path: Path) -> None:
    other = {"text_features": np.ones((38, 4))}
    path = save(tmp_path / "x.npz", features=FEATURES, labels=LABELS, class_names=NAMES, **other)
    with pytest.raises(InvalidImportError, match="leave them out if they are something else"):
        read_npz(path)
    assert read_npz(path, names={"text_features": None}).text_features is None


def test_class_names_that_are_given_win(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", features=FEATURES, labels=LABELS, class_names=NAMES)
    assert read_npz(path, class_names=["a", "b"]).class_names == ("a", "b")


def test_each_split_may_have_its_own_arrays(tmp_path: Path) -> None:
    path = save(
        tmp_path / "x.npz",
        train_features=FEATURES,
        train_labels=LABELS,
        test_features=2 * FEATURES[:1],
        test_labels=np.array([1], np.uint8),
        train_paths=np.array(["a", "b", "c", "d"]),
        test_paths=np.array(["the longest path"]),
        class_names=NAMES,
    )
    found = read_npz(path)
    assert found.splits == ("train",) * 4 + ("test",)
    assert found.labels.tolist() == [0, 1, 0, 1, 1]
    assert found.paths == ("a", "b", "c", "d", "the longest path")
    np.testing.assert_array_equal(found.features[4], [2, 0, 0, 0])


def test_the_arrays_of_a_split_may_begin_otherwise(tmp_path: Path) -> None:
    path = save(
        tmp_path / "x.npz",
        shots_2_features=FEATURES,
        shots_2_labels=LABELS,
        val_features=FEATURES[:2],
        val_labels=LABELS[:2],
        class_names=NAMES,
    )
    assert read_npz(path, names={"train": "shots_2_"}).splits == ("train",) * 4 + ("val",) * 2


@pytest.mark.parametrize(
    "other", [FEATURES.astype(np.float16)[:1], np.ones((1, 3), np.float32), np.ones(1, np.float32)]
)
def test_splits_of_another_width_or_precision_are_refused(tmp_path: Path, other: Any) -> None:
    path = save(
        tmp_path / "x.npz",
        train_features=FEATURES,
        train_labels=LABELS,
        val_features=other,
        val_labels=LABELS[:1],
        class_names=NAMES,
    )
    with pytest.raises(InvalidImportError, match="differ in type or width"):
        read_npz(path)


def test_a_split_whose_prefix_was_given_must_be_there(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", val_features=FEATURES, val_labels=LABELS, class_names=NAMES)
    assert read_npz(path).splits == ("val",) * 4
    with pytest.raises(InvalidImportError, match="no array 'shots_2_features'"):
        read_npz(path, names={"train": "shots_2_"})


def test_a_split_without_labels_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", train_features=FEATURES, class_names=NAMES)
    with pytest.raises(InvalidImportError, match="no array 'train_labels'"):
        read_npz(path)


def test_pickled_objects_are_refused_and_never_opened(tmp_path: Path) -> None:
    path, witness = tmp_path / "x.npz", tmp_path / "it ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(witness),)

    names = np.array([Trap(), Trap()], dtype=object)
    np.savez(path, features=FEATURES, labels=LABELS, class_names=names)
    with pytest.raises(InvalidImportError, match="'class_names' holds pickled Python objects"):
        read_npz(path)
    assert not witness.exists()


def test_an_array_that_is_not_asked_for_may_be_anything(tmp_path: Path) -> None:
    objects = np.array([{}], dtype=object)
    path = tmp_path / "x.npz"
    np.savez(path, features=FEATURES, labels=LABELS, class_names=NAMES, extra=objects)
    assert len(read_npz(path)) == 4


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    declared = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 4096)}"
    path = zip_of(tmp_path / "x.npz", {"features.npy": header(declared) + bytes(2**24)})
    assert path.stat().st_size < 2**16
    with pytest.raises(InvalidImportError, match=r"declares 16,777,\d+ bytes, 1,000,000 are left"):
        read_npz(path, max_bytes=1_000_000)


def test_the_allowance_is_for_all_arrays_together(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", features=FEATURES, labels=LABELS, class_names=NAMES)
    with pytest.raises(InvalidImportError, match=r"'labels' declares .* are left"):
        read_npz(path, max_bytes=64 + 128 + 100)
    assert len(read_npz(path, max_bytes=1000)) == 4


@pytest.mark.parametrize(
    "shape", ["(10**9, 10**9)", "(1000000000, 1000000000)", "(5, 4)", "(3, 4)"]
)
def test_a_shape_that_the_data_do_not_fill_is_refused(tmp_path: Path, shape: str) -> None:
    declared = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    path = zip_of(tmp_path / "x.npz", {"features.npy": header(declared) + FEATURES.tobytes()})
    with pytest.raises(InvalidImportError, match="'features'"):
        read_npz(path)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", features=FEATURES, labels=LABELS, class_names=NAMES)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("labels.npy", b"other labels")
    with pytest.raises(InvalidImportError, match="two arrays share a name"):
        read_npz(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>not found</html>", bytes(100)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidImportError, match=r"x\.npz cannot be imported: it cannot be read"):
        read_npz(path)


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("nothing.npz", ".", "pipe.npz"):
        with pytest.raises(InvalidImportError, match="not there, or no regular file"):
            read_npz(tmp_path / name)


def test_an_archive_is_not_replaced_unless_allowed(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "new" / "out.npz", sample())
    with pytest.raises(InvalidInputError, match=r"out\.npz exists"):
        write_npz(path, sample(9))
    assert_same(read_npz(path), sample(), but="source")
    write_npz(path, sample(9), overwrite=True)
    assert_same(read_npz(path), sample(9), but="source")


def test_a_split_can_be_left_unread(tmp_path: Path) -> None:
    arrays = {
        f"{split}_{what}": value
        for split in ("train", "val")
        for what, value in (("features", np.ones((2, 3), np.float32)), ("labels", ["a", "b"]))
    }
    np.savez(tmp_path / "x.npz", **arrays)
    assert read_npz(tmp_path / "x.npz", names={"val": None}).splits == ("train",) * 2


def test_a_folder_is_never_replaced_by_an_archive(tmp_path: Path) -> None:
    (tmp_path / "out.npz").mkdir()
    with pytest.raises(InvalidInputError, match=r"out\.npz exists"):
        write_npz(tmp_path / "out.npz", sample(), overwrite=True)


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 16_000_000)
    declared = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 4096)}"
    path = zip_of(tmp_path / "x.npz", {"features.npy": header(declared) + bytes(2**24)})
    with pytest.raises(InvalidImportError, match=r"12,000,000 are left of what fits into memory"):
        read_npz(path)


def test_so_many_narrow_rows_that_their_names_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 16_000_000)
    path = tmp_path / "x.npz"
    labels = np.zeros(20_000, np.uint8)
    save(path, features=np.zeros((20_000, 1), np.float32), labels=labels, class_names=NAMES[:1])
    with pytest.raises(InvalidImportError, match=r"20,000 rows, .* 24,000,000 bytes of memory"):
        read_npz(path)


def test_splits_are_streamed_into_one_array_in_the_precision_that_is_kept(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {split: random.normal(size=(2000, 512)) for split in ("train", "test")}
    named = {f"{split}_features": array for split, array in arrays.items()}
    labels = {f"{split}_labels": np.zeros(2000, np.int64) for split in arrays}
    path = tmp_path / "x.npz"
    np.savez_compressed(path, class_names=NAMES[:1], **named, **labels)
    tracemalloc.start()
    found = read_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = np.concatenate([arrays["train"], arrays["test"]]).astype(np.float32)
    np.testing.assert_array_equal(found.features, expected)
    assert found.splits == ("train",) * 2000 + ("test",) * 2000
    # The rows, their names and a block or two; both arrays in double precision would be four times it.
    assert peak < 2 * expected.nbytes


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<f2", ">f8"])
def test_every_order_of_bytes_and_of_rows_reads_alike(
    tmp_path: Path, dtype: str, order: Any
) -> None:
    features = np.arange(12).reshape(4, 3).astype(dtype, order=order)
    path = save(tmp_path / "x.npz", features=features, labels=LABELS, class_names=NAMES)
    np.testing.assert_array_equal(read_npz(path).features, np.arange(12).reshape(4, 3))


def test_a_flipped_bit_in_the_last_row_fails_the_checksum(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", features=FEATURES, labels=LABELS, class_names=NAMES)
    content = bytearray(path.read_bytes())
    last = content.index(FEATURES.tobytes()) + FEATURES.nbytes - 2
    content[last] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidImportError, match="CRC"):
        read_npz(path)
