import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from steps import index_dataset

from clip_adapter.datasets import (
    DatasetError,
    FolderOptions,
    build_index,
    open_dataset,
    split_by_content,
)
from clip_adapter.datasets import index as index_module
from clip_adapter.pipeline.datasets import read_dataset
from clip_adapter.pipeline.index import IndexedDataset, write_index
from clip_adapter.runs import query
from feature_cache import IndexStore

Index = Callable[..., IndexedDataset]
PutPhotos = Callable[..., Path]


@pytest.fixture(name="index")
def _index(root: Path) -> Index:
    def run(folder: Path, **options: Any) -> IndexedDataset:
        return index_dataset(f"imagefolder:{folder}", root=root, data=root, **options)

    return run


def test_an_indexed_dataset_is_answered_by_sql(index: Index, photos: Path, root: Path) -> None:
    indexed = index(photos)
    counted = query(root, "SELECT class_name, count(*) AS n FROM images GROUP BY ALL ORDER BY ALL")
    assert indexed.n_images == 90
    assert counted.to_pylist() == [
        {"class_name": name, "n": 30} for name in ("blue", "green", "red")
    ]


def test_an_unreadable_image_is_quarantined_with_its_reason(
    index: Index, photos: Path, root: Path
) -> None:
    (photos / "red" / "000.jpg").write_bytes(b"not a picture")
    indexed = index(photos)
    quarantine = query(root, "SELECT dataset, path, reason FROM quarantine").to_pylist()
    assert (indexed.n_images, indexed.n_quarantined) == (89, 1)
    assert [row["path"] for row in quarantine] == ["red/000.jpg"]
    assert "not a picture" in quarantine[0]["reason"]


def test_too_many_unreadable_images_leave_no_index(index: Index, photos: Path, root: Path) -> None:
    for number in range(5):
        (photos / "red" / f"{number:03d}.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match="5 of the 90 files"):
        index(photos)
    assert not list(root.rglob("*"))


def test_a_person_may_accept_more_unreadable_images(index: Index, photos: Path) -> None:
    for number in range(5):
        (photos / "red" / f"{number:03d}.jpg").write_bytes(b"")
    assert index(photos, max_bad_fraction=0.1).n_quarantined == 5


def test_images_in_both_train_and_test_are_counted_as_leaked(
    index: Index, photos: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "split" / split)
    assert index(tmp_path / "split").n_leaked == 90


def test_indexing_an_unchanged_folder_again_writes_nothing(
    index: Index, photos: Path, root: Path
) -> None:
    first = index(photos)
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}
    assert index(photos) == first
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")} == files


def test_an_unchanged_folder_is_read_again_but_not_decoded_again(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index(photos)
    decoded: list[bytes] = []
    monkeypatch.setattr(index_module, "image_size", decoded.append)

    assert index(photos) == first
    assert decoded == []


def test_indexing_again_repairs_a_damaged_index(
    index: Index, photos: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = index(photos)
    path = next((root / "datasets").rglob("*.parquet"))
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])

    assert index(photos) == first
    assert path.read_bytes() == sound
    assert f"set aside: {path} is damaged" in capsys.readouterr().err


def splits_of(dataset: IndexedDataset) -> dict[bytes, str]:
    return dict(zip(dataset.index.image_sha256, dataset.index.splits, strict=True))


def test_photos_that_are_added_move_no_other(
    index: Index, photos: Path, put_photos: PutPhotos
) -> None:
    before = splits_of(index(photos))
    put_photos(photos, "red", range(100, 107))
    put_photos(photos, "violet", range(100, 103), colour="blue")
    after = index(photos)
    assert before.items() <= splits_of(after).items()
    counts = Counter(zip(after.index.labels.tolist(), after.index.splits, strict=True))
    assert [counts[2, split] for split in ("train", "val", "test")] == [19, 7, 11]  # of red's 37
    assert [counts[3, split] for split in ("train", "val", "test")] == [1, 1, 1]


def test_a_photo_that_comes_back_has_the_split_it_had(index: Index, photos: Path) -> None:
    before = splits_of(index(photos))
    shutil.move(photos / "red", photos.parent / "red")
    index(photos)
    shutil.move(photos.parent / "red", photos / "red")
    assert splits_of(index(photos)) == before


def test_a_dataset_that_was_split_by_digest_keeps_its_splits(
    index: Index, photos: Path, root: Path
) -> None:
    source = open_dataset(f"imagefolder:{photos}", data=root)
    by_digest = {digest: split_by_content(digest) for digest in build_index(source).image_sha256}
    stored = build_index(source, known_splits=by_digest)
    write_index(IndexStore(root, source.name), stored)
    assert splits_of(index(photos)) == by_digest
    assert index(photos).index_fingerprint == stored.fingerprint


def test_split_folders_decide_whatever_was_known(index: Index, photos: Path) -> None:
    known = splits_of(index(photos))
    for split in ("train", "test"):
        (photos / split).mkdir()
    for name in ("red", "green", "blue"):
        shutil.move(photos / name, photos / "train" / name)
        (photos / "test" / name).mkdir()
        (photos / "train" / name / "000.jpg").rename(photos / "test" / name / "000.jpg")
    in_folders = index(photos)
    assert Counter(in_folders.index.splits) == {"train": 87, "test": 3}
    assert splits_of(in_folders) != known


def test_the_images_of_train_are_divided_although_they_were_all_known_to_train(
    index: Index, photos: Path
) -> None:
    for name in ("red", "green", "blue"):
        for split in ("train", "test"):
            (photos / split / name).mkdir(parents=True)
        for picture in sorted((photos / name).iterdir())[:10]:
            picture.rename(photos / "test" / name / picture.name)
        for picture in (photos / name).iterdir():
            picture.rename(photos / "train" / name / picture.name)
        (photos / name).rmdir()
    assert Counter(index(photos).index.splits) == {"train": 60, "test": 30}
    shutil.rmtree(photos / "test")
    alone = index(photos)
    assert Counter(alone.index.splits) == {"train": 30, "val": 12, "test": 18}
    assert splits_of(index(photos)) == splits_of(alone)


def test_a_short_class_is_skipped_and_its_files_are_counted(
    index: Index, photos: Path, root: Path, put_photos: PutPhotos
) -> None:
    whole = index(photos)
    put_photos(photos, "a-few", range(100, 103), colour="blue")
    indexed = index(photos, skip_short=[1, 4])
    told = {"excluded": {"short class": 3}, "short_classes": ("a few",)}
    assert indexed == IndexedDataset(**{**whole.__getstate__(), **told})
    excluded = query(root, "SELECT path, reason FROM excluded ORDER BY path").to_pylist()
    assert excluded == [
        {"path": f"a-few/{number}.jpg", "reason": "short class"} for number in range(100, 103)
    ]


def test_no_class_is_skipped_that_has_enough(index: Index, photos: Path) -> None:
    assert index(photos, skip_short=[1, 4]) == index(photos)


def test_two_classes_must_have_enough_images(index: Index, photos: Path, root: Path) -> None:
    for name in ("red", "green"):
        for path in sorted((photos / name).iterdir())[3:]:
            path.unlink()
    with pytest.raises(DatasetError, match=r"1 of the 3 classes .* \('green', 'red'\)"):
        index(photos, skip_short=[4])
    assert not list(root.rglob("*"))


def test_files_that_were_not_used_are_those_of_the_last_time(photos: Path, root: Path) -> None:
    (photos / "red" / "notes.txt").write_text("mine", encoding="utf-8")
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    before = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    listed = read_dataset(root, before.name, data=root).index
    assert [each.path for each in listed.excluded] == ["red/notes.txt"]
    assert [each.path for each in listed.quarantined] == ["red/broken.png"]

    (photos / "red" / "notes.txt").unlink()
    (photos / "red" / "broken.png").unlink()
    after = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    assert after.index_fingerprint == before.index_fingerprint
    listed = read_dataset(root, after.name, data=root).index
    assert (listed.excluded, listed.quarantined) == ((), ())
    assert query(root, "FROM excluded").num_rows == query(root, "FROM quarantine").num_rows == 0


def test_images_that_a_table_moves_to_another_split_are_counted(
    index: Index, photos: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(photos, options=FolderOptions(name="photos"))
    before = query(root, "SELECT path, class_name, split FROM images").to_pylist()
    other = {"train": "test", "val": "val", "test": "train"}
    table = photos / "table.csv"
    lines = [f"{row['path']},{row['class_name']},{other[row['split']]}" for row in before]
    table.write_text("\n".join(["path,label,split", *lines]), encoding="utf-8")
    options = FolderOptions(name="photos")
    capsys.readouterr()
    index_dataset(f"csv:{table}", root=root, data=root, options=options)
    n_moved = sum(row["split"] != "val" for row in before)
    assert f"{n_moved} images of photos are in another split than before" in capsys.readouterr().err
    index_dataset(f"csv:{table}", root=root, data=root, options=options)
    assert "in another split" not in capsys.readouterr().err
