"""Stored dataset indexes."""

from pathlib import Path

import pyarrow as pa
import pytest

from feature_cache import (
    EXCLUDED_SCHEMA,
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    IndexStore,
    InvalidInputError,
    NotStoredError,
    WrongSchemaError,
    compact_folder,
    list_files,
    storage,
    stored_folders,
    write_table,
)


def images(n: int, *, fingerprint: str = "f1", dataset: str = "pets") -> pa.Table:
    rows = [
        {
            "index_fingerprint": fingerprint,
            "dataset": dataset,
            "row": row,
            "image_sha256": bytes([row]) * 32,
            "path": f"cat/{row}.jpg",
            "label": 0,
            "class_name": "cat",
            "split": "train",
            "group": None,
            "width": 64,
            "height": 48,
            "n_bytes": 1000 + row,
        }
        for row in range(n)
    ]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def quarantine(*paths: str, fingerprint: str = "f1", dataset: str = "pets") -> pa.Table:
    rows = [
        {
            "index_fingerprint": fingerprint,
            "dataset": dataset,
            "path": path,
            "reason": "truncated",
            "n_bytes": None,
        }
        for path in paths
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path, "pets")


def files_of(store: IndexStore) -> list[Path]:
    return [path for name in ("images", "quarantine") for path in list_files(store.folder / name)]


def test_an_index_reads_back_sorted_by_row(store: IndexStore) -> None:
    store.write(images(3).take([2, 0, 1]), quarantine("b.jpg", "a.jpg"))
    assert store.read("f1").equals(images(3))
    assert store.read_quarantine("f1").equals(quarantine("a.jpg", "b.jpg"))


def test_recording_an_index_again_writes_nothing(store: IndexStore) -> None:
    store.write(images(3), quarantine("a.jpg", "b.jpg"))
    before = files_of(store)
    store.write(images(3).take([1, 2, 0]), quarantine("b.jpg", "a.jpg"))
    assert files_of(store) == before


def test_an_empty_quarantine_writes_no_file(store: IndexStore) -> None:
    store.write(images(1), quarantine())
    assert not (store.folder / "quarantine").exists()
    assert store.read_quarantine("f1").equals(quarantine())


def test_two_indexes_of_a_dataset_are_kept_apart(store: IndexStore) -> None:
    store.write(images(2), quarantine("a.jpg"))
    store.write(images(3, fingerprint="f2"), quarantine())
    assert store.fingerprints() == {"f1", "f2"}
    assert store.read("f2").equals(images(3, fingerprint="f2"))
    assert store.read_quarantine("f2").num_rows == 0


def test_the_splits_of_all_indexes_are_read_together(store: IndexStore) -> None:
    store.write(images(1), quarantine())
    store.write(images(2, fingerprint="f2"), quarantine())
    assert sorted(tuple(row.values()) for row in store.splits().to_pylist()) == [
        ("f1", bytes(32), "train"),
        ("f2", bytes(32), "train"),
        ("f2", bytes([1]) * 32, "train"),
    ]


def test_an_index_that_two_writers_laid_out_differently_counts_once(store: IndexStore) -> None:
    store.write(images(3), quarantine("a.jpg", "b.jpg"))
    write_table(store.folder / "images", images(3).take([2, 1, 0]), kind="dataset-index")
    other = quarantine("b.jpg", "a.jpg")
    write_table(store.folder / "quarantine", other, kind="dataset-quarantine")
    assert store.read("f1").equals(images(3))
    assert store.read_quarantine("f1").equals(quarantine("a.jpg", "b.jpg"))


def test_an_index_that_does_not_exist_is_told_with_those_that_do(store: IndexStore) -> None:
    store.write(images(1), quarantine())
    with pytest.raises(NotStoredError, match=r"no index 'f9', it has \['f1'\]"):
        store.read("f9")


def test_a_dataset_without_indexes_has_no_fingerprints(store: IndexStore) -> None:
    assert store.fingerprints() == set()


def test_columns_may_come_in_any_order_and_nullable(store: IndexStore) -> None:
    shuffled = images(2).select(list(reversed(INDEX_SCHEMA.names)))
    store.write(pa.table(shuffled.to_pydict(), schema=nullable(shuffled.schema)), quarantine())
    assert store.read("f1").equals(images(2))


def nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(nullable=True) for field in schema])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (images(0), "has no images"),
        (images(3).take([0, 2]), "not numbered 0 to 1"),
        (images(3).take([0, 1, 1]), "not numbered 0 to 2"),
        (images(1, dataset="cars"), r"dataset \['cars', 'pets'\], expected \['pets'\]"),
        (images(1, fingerprint="f2"), r"index_fingerprint \['f1', 'f2'\], expected a single one"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(
    store: IndexStore, broken: pa.Table, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        store.write(broken, quarantine("a.jpg"))
    assert not store.folder.exists()


def test_a_label_that_is_missing_is_refused(store: IndexStore) -> None:
    position = INDEX_SCHEMA.get_field_index("label")
    holes = images(2).set_column(position, "label", pa.array([0, None], pa.int32()))
    with pytest.raises(WrongSchemaError, match="label of the index lacks 1 of 2"):
        store.write(holes, quarantine())


def test_a_row_number_that_is_missing_is_refused(store: IndexStore) -> None:
    with pytest.raises(WrongSchemaError, match="row of the index lacks 2 of 2"):
        store.write(images(2).drop_columns(["row"]), quarantine())


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "Pets", "-x", ".x", "x\n", "x\0"])
def test_an_unsafe_dataset_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="lower-case letters"):
        IndexStore(tmp_path, name)


def test_what_is_left_out_is_kept_beside_the_index_with_the_reason(store: IndexStore) -> None:
    rows = [
        {"index_fingerprint": "f1", "dataset": "pets", "path": path, "reason": "twice"}
        for path in ("b.jpg", "a.jpg")
    ]
    excluded = pa.Table.from_pylist(rows, schema=EXCLUDED_SCHEMA)
    store.write(images(1), quarantine(), excluded=excluded)
    assert store.read_excluded("f1").to_pylist() == rows[::-1]
    assert store.read_excluded("f2").num_rows == 0


def test_what_is_left_out_of_another_index_is_refused(store: IndexStore) -> None:
    row = {"index_fingerprint": "f2", "dataset": "pets", "path": "a.jpg", "reason": "twice"}
    excluded = pa.Table.from_pylist([row], schema=EXCLUDED_SCHEMA)
    with pytest.raises(InvalidInputError, match="write one index at a time"):
        store.write(images(1), quarantine(), excluded=excluded)
    assert not store.folder.exists()


def test_an_index_knows_under_which_names_and_from_where_it_was_made(store: IndexStore) -> None:
    store.write(images(2), quarantine())
    plain = files_of(store)
    store.write(images(2), quarantine(), name="Pets", source="~/pets")
    store.write(images(2), quarantine(), name="Pets", source="~/pets")
    store.write(images(2), quarantine(), name="Pets", source="/home/pets")
    assert len(files_of(store)) == len(plain) + 2
    assert store.read("f1").equals(images(2))
    assert [tuple(row.values()) for row in store.origins().to_pylist()] == [
        ("f1", "Pets", "/home/pets"),
        ("f1", "Pets", "~/pets"),
        ("f1", None, None),
    ]


def left_out(*paths: str, fingerprint: str = "f1", reason: str = "hidden") -> pa.Table:
    row = {"index_fingerprint": fingerprint, "dataset": "pets", "reason": reason}
    return pa.Table.from_pylist([row | {"path": path} for path in paths], schema=EXCLUDED_SCHEMA)


def test_what_is_no_longer_left_out_is_forgotten(store: IndexStore) -> None:
    store.write(images(1), quarantine("x.jpg"), excluded=left_out("a.txt", "b.txt"))
    store.write(
        images(1), quarantine("y.jpg"), excluded=left_out("b.txt", "c.txt", reason="ignored")
    )
    assert store.read_quarantine("f1").equals(quarantine("y.jpg"))
    assert store.read_excluded("f1").equals(left_out("b.txt", "c.txt", reason="ignored"))
    store.write(images(1), quarantine(), excluded=left_out())
    assert list_files(store.folder / "quarantine") == list_files(store.folder / "excluded") == []


def test_what_other_indexes_leave_out_stays_where_files_were_merged(store: IndexStore) -> None:
    for fingerprint in ("f1", "f2"):
        store.write(
            images(1, fingerprint=fingerprint),
            quarantine(),
            excluded=left_out("a.txt", fingerprint=fingerprint),
        )
    (folder,) = [each for each in stored_folders(store.root) if each.kind == "dataset-excluded"]
    assert compact_folder(folder) is not None
    store.write(images(1), quarantine(), excluded=left_out())
    assert store.read_excluded("f1").num_rows == 0
    assert store.read_excluded("f2").equals(left_out("a.txt", fingerprint="f2"))


def test_the_same_list_in_a_merged_file_is_not_written_again(store: IndexStore) -> None:
    for fingerprint in ("f1", "f2"):
        index, listed = images(1, fingerprint=fingerprint), left_out("a", fingerprint=fingerprint)
        store.write(index, quarantine(), excluded=listed)
    (folder,) = [each for each in stored_folders(store.root) if each.kind == "dataset-excluded"]
    compact_folder(folder)
    merged = list_files(folder.path)
    store.write(images(1), quarantine(), excluded=left_out("a"))
    assert list_files(folder.path) == merged


def test_of_two_writers_at_once_neither_fails_nor_loses_its_list(
    store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(images(1), quarantine(), excluded=left_out("old"))
    remove = storage.remove

    def remove_late(path: Path) -> None:
        with monkeypatch.context() as other:  # another writer finishes before this one removes
            other.setattr(storage, "remove", remove)
            store.write(images(1), quarantine(), excluded=left_out("theirs"))
        remove(path)

    with monkeypatch.context() as this:
        this.setattr(storage, "remove", remove_late)
        store.write(images(1), quarantine(), excluded=left_out("ours"))
    assert store.read_excluded("f1").equals(left_out("theirs"))
    store.write(images(1), quarantine(), excluded=left_out("ours"))
    assert store.read_excluded("f1").equals(left_out("ours"))
