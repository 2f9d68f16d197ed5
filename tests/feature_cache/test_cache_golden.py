"""Files of format 1 that every later version has to read, and today's writer still writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_cache import (
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    FeatureStore,
    IndexStore,
    inspect_store,
    list_files,
    parquet_file,
    read_table,
    reading,
)

GOLDEN = Path(__file__).with_name("golden")
SINGLE, HALF = "0123456789abcdef" * 4, "fedcba9876543210" * 4
A, B = bytes(range(32)), bytes(31) + b"\x01"
VIEWS = (0, 1, 10_001)
PROMPTS = ["a photo of a cat.", "ein Foto eines Kätzchens 🐈"]
DESCRIPTION = {"model": "ViT-B-32", "precision": "fp32"}
FEATURES = np.array([[1.5, -2.0, 0.0], [65504.0, 2.0**-14, -0.0]], np.float32)
IMAGES = [
    {
        "index_fingerprint": "f1",
        "dataset": "pets",
        "row": row,
        "image_sha256": digest,
        "path": path,
        "label": row,
        "class_name": class_name,
        "split": "train",
        "group": group,
        "width": 64,
        "height": 48,
        "n_bytes": 2**33,
    }
    for row, (digest, path, class_name, group) in enumerate(
        [(A, "cat/1.jpg", "cat", None), (B, "größe/2.jpg", "größe", "g")]
    )
]
QUARANTINE = [
    {
        "index_fingerprint": "f1",
        "dataset": "pets",
        "path": f"{number}.jpg",
        "reason": "truncated",
        "n_bytes": n_bytes,
    }
    for number, n_bytes in enumerate([None, 17])
]


def write_all(root: Path) -> None:
    """What lies in `golden/store`."""
    single = FeatureStore(root, SINGLE)
    for view in VIEWS:
        single.append_images([A, B], FEATURES * (view + 1) % 1000, view=view)
    single.append_prompts(PROMPTS, FEATURES)
    single.describe(DESCRIPTION)
    FeatureStore(root, HALF).append_images([A, B], FEATURES.astype(np.float16))
    images = pa.Table.from_pylist(IMAGES, schema=INDEX_SCHEMA)
    quarantine = pa.Table.from_pylist(QUARANTINE, schema=QUARANTINE_SCHEMA)
    IndexStore(root, "pets").write(images, quarantine)


def test_a_file_of_the_first_release_without_an_owner_still_reads() -> None:
    [path] = list_files(GOLDEN)
    table = read_table(path, kind="golden", owner="anybody")
    assert table.column("name").to_pylist() == ["a", None]
    assert table.column("feature").to_pylist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_the_stored_images_reads_bit_for_bit(view: int) -> None:
    found = FeatureStore(GOLDEN / "store", SINGLE).read_images([B, A], view=view)
    expected = (FEATURES * (view + 1) % 1000)[::-1]
    assert (found.dtype, found.tobytes()) == (np.float32, expected.tobytes())


def test_half_precision_reads_bit_for_bit() -> None:
    found = FeatureStore(GOLDEN / "store", HALF).read_images([A, B])
    assert (found.dtype, found.tobytes()) == (np.float16, FEATURES.astype(np.float16).tobytes())


def test_prompts_and_description_read() -> None:
    store = FeatureStore(GOLDEN / "store", SINGLE)
    assert store.read_prompts(PROMPTS).tobytes() == FEATURES.tobytes()
    assert store.description() == DESCRIPTION


def test_index_and_quarantine_read() -> None:
    store = IndexStore(GOLDEN / "store", "pets")
    assert store.read("f1").to_pylist() == IMAGES
    assert store.read_quarantine("f1").to_pylist() == QUARANTINE


def test_the_golden_store_is_sound() -> None:
    findings = list(inspect_store(GOLDEN / "store", deep=True))
    assert [finding.problem for finding in findings] == [None] * 8


def files_below(root: Path) -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.parquet")):
        folders.setdefault(str(path.parent.relative_to(root)), []).append(path)
    return folders


def test_todays_writer_writes_the_same_rows_and_with_the_same_pyarrow_the_same_bytes(
    tmp_path: Path,
) -> None:
    write_all(tmp_path)
    golden, today = files_below(GOLDEN / "store"), files_below(tmp_path)
    assert {folder: len(paths) for folder, paths in golden.items()} == {
        folder: len(paths) for folder, paths in today.items()
    }
    for folder, paths in golden.items():
        if {*writers(paths)} == {*writers(today[folder])}:
            assert [path.name for path in paths] == [path.name for path in today[folder]]
        assert rows(paths) == rows(today[folder])


def writers(paths: list[Path]) -> Iterator[str]:
    yield from (pq.read_metadata(path).created_by for path in paths)


def rows(paths: list[Path]) -> set[str]:
    return {f"{pq.read_schema(path)} {pq.read_table(path).to_pylist()}" for path in paths}


def test_the_specification_names_every_word_that_files_and_their_names_carry() -> None:
    page = Path(parquet_file.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")
    keys = [
        parquet_file.FORMAT_KEY,
        parquet_file.KIND_KEY,
        parquet_file.OWNER_KEY,
        parquet_file.STAMP_KEY,
    ]
    for word in (*(key.decode() for key in keys), reading.DAMAGED_SUFFIX):
        assert word in page
