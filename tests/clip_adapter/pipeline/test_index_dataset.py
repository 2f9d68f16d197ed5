import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from steps import index_dataset

from clip_adapter.datasets import DatasetError
from clip_adapter.datasets import index as index_module
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.runs import query

Index = Callable[..., IndexedDataset]


@pytest.fixture(name="index")
def _index(root: Path) -> Index:
    def run(folder: Path, *, max_bad_fraction: float = 0.05) -> IndexedDataset:
        return index_dataset(
            f"imagefolder:{folder}", root=root, data=root, max_bad_fraction=max_bad_fraction
        )

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
