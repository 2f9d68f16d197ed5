"""Verifying, merging and clearing up: what is found, what is done, and that no row is lost."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from states import rows_in
from steps import compact_store, encode_dataset, index_dataset, verify_store

from clip_adapter.file_lock import FileLock
from clip_adapter.pipeline import maintain
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.maintain import VerifiedStore, collect_garbage, merge_run_files
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import RunStoreError
from feature_cache import list_files, read_table, write_table

Extract = Callable[..., EncodedDataset]
PutPhotos = Callable[..., Path]
TEMPORARY = f".{'0' * 64}.{'0' * 16}.tmp"


@pytest.fixture(name="six_nights", scope="module")
def _six_nights(
    tiny_model: str, put_photos: PutPhotos, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store whose features came six times."""
    photos, root = (tmp_path_factory.mktemp("six nights") / name for name in ("photos", "store"))
    for class_name in ("red", "green", "blue"):
        put_photos(photos, class_name, range(30))
    encoding = Encoding(model=tiny_model)
    for night in range(6):
        put_photos(photos, "red", [100 + night])
        encode_dataset(index_dataset(f"imagefolder:{photos}", root=root, data=root), encoding)
    return root


@pytest.fixture(name="many_files")
def _many_files(six_nights: Path, root: Path) -> Path:
    """A copy of the store, to change."""
    return Path(shutil.copytree(six_nights, root, dirs_exist_ok=True))


def verify(root: Path, *, repair: bool = False) -> VerifiedStore:
    found: Any = verify_store(root=root, deep=True, repair=repair)
    assert isinstance(found, VerifiedStore)
    return found


def features_of(root: Path) -> list[Path]:
    (folder,) = (root / "features").glob("*/image")
    return [Path(str(path)) for path in list_files(folder)]


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_sound_store_is_said_to_be_sound(many_files: Path) -> None:
    found = verify(many_files)
    assert found.n_files > 6
    assert found.damaged == ()
    found.refuse_damage()


def test_a_store_that_is_not_there_is_sound(root: Path) -> None:
    assert verify(root) == VerifiedStore(n_files=0, size_bytes=0, damaged=(), n_set_aside=0)


def test_damage_is_named_and_refused(many_files: Path) -> None:
    victim = features_of(many_files)[0]
    spoil(victim)
    found = verify(many_files)
    assert len(found.damaged) == 1
    assert str(victim) in found.damaged[0]
    with pytest.raises(RunStoreError, match="--repair"):
        found.refuse_damage()
    assert victim.exists()


def test_damage_is_set_aside_where_that_is_asked_for(many_files: Path) -> None:
    victim = features_of(many_files)[0]
    spoil(victim)
    found = verify(many_files, repair=True)
    assert (len(found.damaged), found.n_set_aside) == (1, 1)
    found.refuse_damage()
    assert not victim.exists()
    assert len(list(many_files.rglob("*.damaged"))) == 1
    assert verify(many_files).damaged == ()


def test_small_files_are_merged_and_no_row_is_lost(many_files: Path) -> None:
    before = rows_in(many_files)
    n_indexes = len(list((many_files / "datasets").rglob("*.parquet")))
    done: Any = compact_store(root=many_files)
    assert done.n_files_before >= 6
    assert done.n_files_after == done.n_folders
    assert rows_in(many_files) == before
    # The newest file of a dataset is its latest index.
    assert len(list((many_files / "datasets").rglob("*.parquet"))) == n_indexes


def test_merging_again_finds_nothing_to_merge(many_files: Path) -> None:
    compact_store(root=many_files)
    done: Any = compact_store(root=many_files)
    assert done.n_folders == 0


@pytest.fixture(name="run_files")
def _run_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """Three files of metrics, which are many; a call lists what there is."""
    monkeypatch.setattr(maintain, "MANY_RUN_FILES", 3)
    folder = root / "runs" / "metrics"
    for number in range(3):
        write_table(folder, pa.table({"run_id": [str(number)]}), kind="metrics")
    return lambda: sorted(folder.iterdir())


RunFiles = Callable[[], list[Path]]


def test_many_small_files_of_runs_are_merged(root: Path, run_files: RunFiles) -> None:
    merge_run_files(root=root, reporter=Reporter())
    (merged,) = run_files()
    assert sorted(read_table(merged, kind="metrics")["run_id"].to_pylist()) == ["0", "1", "2"]
    merge_run_files(root=root, reporter=Reporter())
    assert run_files() == [merged]


def test_fewer_files_of_runs_are_left_alone(root: Path, run_files: RunFiles) -> None:
    run_files()[0].unlink()
    before = run_files()
    merge_run_files(root=root, reporter=Reporter())
    assert run_files() == before


def test_large_files_of_runs_are_left_alone(
    root: Path, run_files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "SMALL_RUN_FILE_BYTES", 1)
    before = run_files()
    merge_run_files(root=root, reporter=Reporter())
    assert run_files() == before


def test_files_of_runs_that_another_process_merges_are_left_to_it(
    root: Path, run_files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_files()
    with monkeypatch.context() as locked:
        locked.setattr(FileLock, "acquire", lambda *_: None)
        merge_run_files(root=root, reporter=Reporter())
    assert run_files() == before


def test_a_damaged_file_of_runs_is_named_and_the_others_are_merged(
    root: Path, run_files: RunFiles, capfd: pytest.CaptureFixture[str]
) -> None:
    victim = run_files()[0]
    spoil(victim)
    merge_run_files(root=root, reporter=Reporter())
    assert len(run_files()) == 2
    assert victim in run_files()
    assert f"not merged: {victim}" in capfd.readouterr().err


def test_a_full_disk_loses_no_run_and_fails_no_training(
    root: Path,
    run_files: RunFiles,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = run_files()
    monkeypatch.setattr(maintain, "compact_folder", full)
    merge_run_files(root=root, reporter=Reporter())
    assert run_files() == before
    assert "No space left on device" in capfd.readouterr().err


def test_what_dead_writers_left_goes_and_what_was_set_aside_stays(many_files: Path) -> None:
    folder = features_of(many_files)[0].parent
    old, fresh = folder / TEMPORARY, folder / TEMPORARY.replace("0", "1")
    for path in (old, fresh):
        path.write_bytes(b"half a file")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    spoil(features_of(many_files)[0])
    verify(many_files, repair=True)
    done: Any = collect_garbage(root=many_files, unreferenced=False)
    assert (done.n_unfinished, done.n_set_aside, done.n_unreferenced) == (1, 1, 0)
    assert fresh.exists()
    assert not old.exists()
    assert len(list(many_files.rglob("*.damaged"))) == 1


def test_features_that_nobody_refers_to_go_where_that_is_asked_for(many_files: Path) -> None:
    for path in (many_files / "datasets").rglob("*.parquet"):
        path.unlink()
    kept: Any = collect_garbage(root=many_files, unreferenced=False)
    assert kept.n_unreferenced == 0
    done: Any = collect_garbage(root=many_files, unreferenced=True)
    assert done.n_unreferenced == 96
    assert features_of(many_files) == []


@pytest.mark.slow
def test_two_at_once_beside_an_extraction_lose_nothing(
    extract: Extract, photos: Path, root: Path, put_photos: PutPhotos
) -> None:
    def maintain_until(until: float) -> int:
        rounds = 0
        while time.monotonic() < until:
            verify(root).refuse_damage()
            compact_store(root=root)
            collect_garbage(root=root, unreferenced=True)
            rounds += 1
        return rounds

    extract(photos)
    until = time.monotonic() + 8
    with ThreadPoolExecutor(2) as pool:
        rounds = [pool.submit(maintain_until, until) for _ in range(2)]
        night = 0
        while time.monotonic() < until:
            put_photos(photos, "blue", [200 + night])
            assert extract(photos).n_encoded == 1
            night += 1
        assert all(each.result() > 3 for each in rounds)
    assert extract(photos).n_reused == 90 + night
    assert verify(root).damaged == ()
