"""Renaming and forgetting a dataset: what goes, what stays, and what an interruption leaves."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from interruptions import interrupted
from steps import index_dataset
from synthetic_datasets import GOOD, SyntheticDatasets

from clip_adapter.errors import DatasetError
from clip_adapter.pipeline import dataset_rewrite, identity
from clip_adapter.pipeline.dataset_rewrite import (
    evidence_images,
    forget_dataset,
    rename_dataset,
)
from clip_adapter.pipeline.datasets import stored_datasets
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.maintain import collect_garbage
from clip_adapter.pipeline.stored_rows import open_all
from clip_adapter.pipeline.train import Training, train
from clip_adapter.runs import PromotionStore, RequestStore, connect, current_index, query
from feature_cache import (
    QUARANTINE_SCHEMA,
    IndexStore,
    NotStoredError,
    StoredFolder,
    compact_folder,
    inspect_store,
    storage,
    stored_folders,
)

PutPhotos = Callable[..., Path]
Train = Callable[..., Training]
TABLES = {"splits", "runs", "extractions", "promotions", "requests"}
OWN_TABLES = ("images", "quarantine", "excluded", "extractions", "promotions", "requests", "runs")


@pytest.fixture(name="train_folder")
def _train_folder(root: Path, tiny_model: str) -> Train:
    """Train one method on a folder as it is."""
    asked: dict[str, Any] = {"methods": ["gda"], "shots": [1], "seeds": [1]}
    return lambda folder, **more: train(
        f"imagefolder:{folder}", model=tiny_model, root=root, **asked, **more
    )


def named(root: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a dataset in every view that has its name, without the name."""
    with connect(root) as database:
        found = {
            view: database.query(
                f"SELECT * FROM {view} WHERE dataset = $name ORDER BY ALL", {"name": name}
            )
            for view in OWN_TABLES
        }
    without = ["dataset", "name", "tested_on"]
    return {
        view: table.drop_columns(
            [each for each in without if each in table.column_names]
        ).to_pylist()
        for view, table in found.items()
    }


def features_of(root: Path) -> set[bytes]:
    """Digests of the images with a stored feature."""
    folders = [each for each in stored_folders(root) if each.kind == "image-features"]
    tables = [file.read(["image_sha256"]) for each in folders for file in _files(each)]
    return set(pa.concat_tables(tables).column(0).to_pylist()) if tables else set()


def _files(folder: Any) -> list[Any]:
    return list(open_all(folder))


def test_a_renamed_dataset_keeps_everything_under_its_new_name(
    root: Path, gallery: EncodedDataset
) -> None:
    before = named(root, "gallery")
    rename_dataset(root, "gallery", "pictures")
    assert named(root, "pictures") == before
    assert not any(named(root, "gallery").values())
    tested = query(root, "SELECT DISTINCT tested_on.dataset AS dataset FROM runs")
    assert tested.to_pylist() == [{"dataset": "pictures"}]
    assert storage.list_folders(root / "datasets") == ["pictures"]
    assert storage.list_folders(root / "champions") == ["pictures"]
    assert IndexStore(root, "pictures").first_name() == gallery.dataset.name
    assert all(finding.problem is None for finding in inspect_store(root, deep=True))


def test_the_champion_stands_and_nothing_is_trained_again_after_a_rename(
    root: Path, datasets: SyntheticDatasets, gallery: EncodedDataset
) -> None:
    store = PromotionStore(root)
    before = store.champion("gallery", on_corruption=lambda _: None)
    assert before is not None
    rename_dataset(root, "gallery", "pictures")
    after = store.champion("pictures", on_corruption=lambda _: None)
    assert after is not None
    assert after.record == replace(before.record, dataset="pictures")
    assert after.content == before.content
    dataset = replace(gallery.dataset, name="pictures").with_index(gallery.dataset.index)
    n_runs = len(named(root, "pictures")["runs"])
    assert not datasets.retrain(replace(gallery, dataset=dataset), GOOD).is_new
    assert len(named(root, "pictures")["runs"]) == n_runs


def test_a_renamed_folder_is_recognised_without_a_name_and_up_to_date(
    root: Path, photos: Path, train_folder: Train
) -> None:
    first = train_folder(photos)
    name = first.encoded.dataset.name
    rename_dataset(root, name, "colours")
    again = train_folder(photos)
    assert again.encoded.dataset.name == "colours"
    assert again.encoded.dataset.index_fingerprint == first.encoded.dataset.index_fingerprint
    assert (again.encoded.n_encoded, again.is_up_to_date) == (0, True)
    assert again.encoded.dataset.index.fingerprint == again.encoded.dataset.index_fingerprint
    assert train_folder(photos, name="colours").is_up_to_date
    assert storage.list_folders(root / "datasets") == ["colours"]


def test_a_dataset_that_is_renamed_twice_keeps_its_first_name_in_its_fingerprint(
    root: Path, photos: Path, train_folder: Train
) -> None:
    first = train_folder(photos).encoded.dataset
    rename_dataset(root, first.name, "colours")
    rename_dataset(root, "colours", "hues")
    assert IndexStore(root, "hues").first_name() == first.name
    again = train_folder(photos, name="hues")
    assert (again.is_up_to_date, again.encoded.dataset.index_fingerprint) == (
        True,
        first.index_fingerprint,
    )


def test_the_rows_of_another_dataset_in_the_same_files_stay_as_they_are(
    root: Path, photos: Path, tmp_path: Path, put_photos: PutPhotos, train_folder: Train
) -> None:
    train_folder(photos)
    for class_name in ("red", "blue"):
        put_photos(tmp_path / "others", class_name, range(100, 130))
    train_folder(tmp_path / "others")
    for folder in stored_folders(root):
        if folder.kind in {*TABLES, "metrics", "predictions"}:
            compact_folder(folder)
    before, renamed = named(root, "others"), named(root, "photos")
    rename_dataset(root, "photos", "colours")
    assert (named(root, "others"), named(root, "colours")) == (before, renamed)
    assert len(list((root / "runs" / "runs").iterdir())) == 1


def test_a_dry_run_writes_nothing_and_counts_what_a_rename_changes(
    root: Path, gallery: EncodedDataset
) -> None:
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    planned = rename_dataset(root, gallery.dataset.name, "pictures", dry_run=True)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == files
    assert rename_dataset(root, "gallery", "pictures") == planned
    counts = {each.kind: each.n_rows for each in planned}
    assert (counts["dataset-index"], counts["promotions"], counts["classifiers"]) == (186, 1, 1)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("gallery", "called 'gallery' already"),
        ("eurosat", "choose another name"),
        ("../x", "a-z, 0-9 and single dashes"),
        ("Pictures", "a-z, 0-9 and single dashes"),
    ],
)
def test_a_name_that_no_dataset_may_have_is_refused(
    root: Path, gallery: EncodedDataset, new: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        rename_dataset(root, gallery.dataset.name, new)


def test_the_name_of_another_dataset_is_refused_and_both_stay(
    root: Path, photos: Path, gallery: EncodedDataset, train_folder: Train
) -> None:
    train_folder(photos)
    with pytest.raises(DatasetError, match="forget photos"):
        rename_dataset(root, gallery.dataset.name, "photos")
    assert storage.list_folders(root / "datasets") == ["gallery", "photos"]


def test_the_name_of_a_forgotten_dataset_with_a_champion_is_taken(
    root: Path, photos: Path, gallery: EncodedDataset, train_folder: Train
) -> None:
    train_folder(photos)
    forget_dataset(root, gallery.dataset.name, dry_run=False)
    with pytest.raises(DatasetError, match="taken"):
        rename_dataset(root, "photos", "gallery")


def test_a_dataset_with_a_fixed_name_is_not_renamed(
    root: Path, datasets: SyntheticDatasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.make_dataset()
    monkeypatch.setattr(dataset_rewrite, "DATASETS", {"gallery": "as eurosat is"})
    with pytest.raises(DatasetError, match="known without a store"):
        rename_dataset(root, "gallery", "pictures")


def test_a_dataset_that_is_not_stored_can_be_neither_renamed_nor_forgotten(
    root: Path, gallery: EncodedDataset
) -> None:
    with pytest.raises(NotStoredError, match="did you mean 'gallery'"):
        rename_dataset(root, f"{gallery.dataset.name}s", "pictures")
    with pytest.raises(NotStoredError, match="did you mean 'gallery'"):
        forget_dataset(root, "galery", dry_run=True)


def rows_of(root: Path, name: str) -> dict[str, set[str]]:
    """The rows of a dataset in each table, without its name; read without SQL, which takes longer."""
    own = {
        table: StoredFolder(root / "datasets" / name / table, kind, name)
        for table, kind in {"images": "dataset-index", "quarantine": "dataset-quarantine"}.items()
    }
    runs = {table: StoredFolder(root / "runs" / table, table) for table in TABLES}
    return {
        table: {
            repr(_without_name(row))
            for file in _files(folder)
            for row in file.read().to_pylist()
            if row["dataset"] == name
        }
        for table, folder in (own | runs).items()
    }


def _without_name(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in sorted(row.keys() - {"dataset", "name", "tested_on"})}


def test_a_rename_that_is_killed_anywhere_leaves_one_name_whole_and_is_finished_by_the_next(
    root: Path, gallery: EncodedDataset
) -> None:
    whole = rows_of(root, gallery.dataset.name)
    for step, copy in interrupted(root, lambda copy: rename_dataset(copy, "gallery", "pictures")):
        assert whole in (rows_of(copy, "gallery"), rows_of(copy, "pictures")), step
        with suppress(NotStoredError):  # it was done
            rename_dataset(copy, "gallery", "pictures")
        assert rows_of(copy, "pictures") == whole, step
        assert not any(rows_of(copy, "gallery").values()), step
        assert storage.list_folders(copy / "datasets") == ["pictures"]
        found = PromotionStore(copy).champion("pictures", on_corruption=lambda _: None)
        assert found is not None
    assert step > 9


def test_a_forgotten_dataset_leaves_nothing(
    root: Path, photos: Path, train_folder: Train, tmp_path: Path, put_photos: PutPhotos
) -> None:
    train_folder(photos)
    for class_name in ("red", "blue"):
        put_photos(tmp_path / "others", class_name, range(100, 130))
    train_folder(tmp_path / "others")
    before = named(root, "others")
    forget_dataset(root, "photos", dry_run=False)
    assert not any(named(root, "photos").values())
    assert named(root, "others") == before
    assert storage.list_folders(root / "datasets") == ["others"]
    runs = query(root, "SELECT run_id, split_fingerprint FROM runs")
    for key, tables in {
        "run_id": ["metrics", "predictions"],
        "split_fingerprint": ["splits"],
    }.items():
        known = set(runs[key].to_pylist())
        assert {value for table in tables for value in _stored(root, table, key)} == known
    digests = set(IndexStore(root, "others").sizes().column("image_sha256").to_pylist())
    assert features_of(root) == digests


def _stored(root: Path, table: str, column: str) -> set[str]:
    files = _files(StoredFolder(root / "runs" / table, table))
    return {value for file in files for value in file.read([column]).column(0).to_pylist()}


def test_features_that_another_dataset_shares_stay(
    root: Path, photos: Path, train_folder: Train, tmp_path: Path
) -> None:
    train_folder(photos)
    for class_name in ("red", "blue"):
        shutil.copytree(photos / class_name, tmp_path / "two" / class_name)
    train_folder(tmp_path / "two", name="two")
    forgotten = forget_dataset(root, "photos", dry_run=False)
    counts = {each.kind: each.n_rows for each in forgotten.removed}
    assert counts["image-features"] == 30
    again = train_folder(tmp_path / "two", name="two")
    assert (again.encoded.n_encoded, again.is_up_to_date) == (0, True)


def test_a_dry_run_of_forgetting_counts_what_goes_and_removes_nothing(
    root: Path, gallery: EncodedDataset
) -> None:
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    planned = forget_dataset(root, gallery.dataset.name, dry_run=True)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == files
    assert forget_dataset(root, gallery.dataset.name, dry_run=False) == planned


def test_the_evidence_of_a_champion_stays(
    root: Path, datasets: SyntheticDatasets, gallery: EncodedDataset
) -> None:
    datasets.retrain(gallery, GOOD | {"seeds": (1, 2, 3)})
    history = PromotionStore(root).history("gallery")
    rows = "SELECT * FROM {} WHERE run_id IN (SELECT run_id FROM promotions) ORDER BY ALL"
    tables = ("runs", "metrics", "predictions")
    before = {name: query(root, rows.format(name)) for name in tables}
    splits = "SELECT * FROM splits SEMI JOIN (FROM runs SEMI JOIN promotions USING (run_id)) "
    splits += "USING (split_fingerprint) ORDER BY ALL"
    split = query(root, splits)
    forgotten = forget_dataset(root, "gallery", dry_run=False)
    assert (forgotten.n_decisions_kept, forgotten.n_runs_kept) == (2, 1)
    assert PromotionStore(root).history("gallery") == history
    assert {name: query(root, rows.format(name)) for name in tables} == before
    assert (query(root, splits), split.num_rows > 0) == (split, True)
    assert query(root, "SELECT run_id FROM runs").num_rows == 1
    assert PromotionStore(root).champion("gallery", on_corruption=lambda _: None) is not None
    cited = {*before["predictions"]["image_sha256"].to_pylist()}
    cited |= {*split["image_sha256"].to_pylist()}
    assert {each.hex() for each in features_of(root)} == cited
    assert forgotten.n_images_kept == len(cited)


def test_collecting_garbage_keeps_the_features_that_a_champion_rests_on(
    root: Path, gallery: EncodedDataset
) -> None:
    assert len(evidence_images(root)) == 0  # the index names them
    forget_dataset(root, gallery.dataset.name, dry_run=False)
    kept = features_of(root)
    assert set(evidence_images(root).to_pylist()) == kept
    assert collect_garbage(root=root, unreferenced=True).n_unreferenced == 0
    assert features_of(root) == kept


def test_forgetting_another_dataset_keeps_what_a_champion_rests_on(
    root: Path, gallery: EncodedDataset
) -> None:
    name, state = gallery.dataset.name, gallery.dataset.index_fingerprint
    images = IndexStore(root, name).read(state)
    other = pa.array(["other"] * images.num_rows)
    same_images = images.set_column(images.column_names.index("dataset"), "dataset", other)
    IndexStore(root, "other").write(same_images, QUARANTINE_SCHEMA.empty_table())
    forget_dataset(root, name, dry_run=False)
    evidence = set(evidence_images(root).to_pylist())
    forget_dataset(root, "other", dry_run=False)
    assert evidence
    assert features_of(root) == evidence


def test_a_forgotten_dataset_that_is_trained_again_meets_its_champion(
    root: Path, datasets: SyntheticDatasets, gallery: EncodedDataset
) -> None:
    forget_dataset(root, gallery.dataset.name, dry_run=False)
    record = datasets.retrain(datasets.make_dataset(), GOOD | {"seeds": (4,)}).record
    assert (record.sequence, record.champion_before is not None) == (2, True)


def test_forgetting_that_is_killed_anywhere_is_finished_by_the_next(
    root: Path, gallery: EncodedDataset, photos: Path, train_folder: Train
) -> None:
    train_folder(photos)
    others = rows_of(root, "photos")
    end = root.parent / "end"
    shutil.copytree(root, end)
    forget_dataset(end, gallery.dataset.name, dry_run=False)
    rows = {table: _stored_rows(end, table) for table in (*TABLES, "metrics", "predictions")}
    for step, copy in interrupted(
        root, lambda copy: forget_dataset(copy, "gallery", dry_run=False)
    ):
        assert rows_of(copy, "photos") == others, step
        with suppress(NotStoredError):  # it was done
            forget_dataset(copy, "gallery", dry_run=False)
        assert {table: _stored_rows(copy, table) for table in rows} == rows, step
        assert features_of(copy) == features_of(end), step
        assert storage.list_folders(copy / "datasets") == ["photos"]
    assert step > 9


def _stored_rows(root: Path, table: str) -> set[str]:
    return {
        repr(row)
        for file in _files(StoredFolder(root / "runs" / table, table))
        for row in file.read().to_pylist()
    }


def test_a_renamed_dataset_is_still_current_in_the_state_that_was_requested_last(
    root: Path, photos: Path, train_folder: Train
) -> None:
    first = train_folder(photos).encoded.dataset.index_fingerprint
    (photos / "red" / "000.jpg").rename(photos.parent / "000.jpg")
    train_folder(photos)
    (photos.parent / "000.jpg").rename(photos / "red" / "000.jpg")
    train_folder(photos)
    rename_dataset(root, "photos", "colours")
    assert current_index(root, "colours") == first
    assert [each.sequence for each in RequestStore(root).history("colours")] == [1, 2, 3]


def test_a_store_in_an_object_store_can_be_renamed_and_forgotten(
    object_root: Any, photos: Path, tiny_model: str
) -> None:
    asked: dict[str, Any] = {"methods": ["zero-shot"], "shots": [1], "seeds": [1]}
    ask = {"model": tiny_model, "root": object_root.url, **asked}
    train(f"imagefolder:{photos}", **ask)
    rename_dataset(object_root, "photos", "colours")
    assert train(f"imagefolder:{photos}", **ask).is_up_to_date
    forget_dataset(object_root, "colours", dry_run=False)
    assert stored_datasets(object_root, data=photos) == []


def test_a_dataset_of_the_former_name_of_another_has_runs_of_its_own(
    root: Path, photos: Path, train_folder: Train
) -> None:
    train_folder(photos, name="trip")
    rename_dataset(root, "trip", "holiday")
    forget_dataset(root, "holiday", dry_run=False)
    again = train_folder(photos, name="trip")
    assert (again.runs.n_trained, again.to_arrow().num_rows) == (1, 1)
    rows = query(root, "SELECT DISTINCT dataset FROM leaderboard").to_pylist()
    assert rows == [{"dataset": "trip"}]


def test_a_folder_that_was_called_like_a_known_dataset_is_renamed(
    root: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that did not know the dataset indexed it under that name."""
    folder = photos.rename(photos.with_name("dtd"))
    monkeypatch.setattr(identity, "reserved_names", frozenset)
    index_dataset(f"imagefolder:{folder}", root=root, data=root)
    monkeypatch.undo()
    with pytest.raises(DatasetError, match=r"another with --name; .*datasets rename dtd NAME"):
        index_dataset(f"imagefolder:{folder}", root=root, data=root)
    rename_dataset(root, "dtd", "colours")
    indexed = index_dataset(f"imagefolder:{folder}", root=root, data=root)
    assert indexed.name == "colours"
