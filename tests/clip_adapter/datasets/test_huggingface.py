"""Parquet files as the Hugging Face hub has them: local copies, the hub's cache, and damage."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_adapter.datasets import FolderOptions, ImageSource, build_index, open_dataset
from clip_adapter.errors import DatasetError

MakeImage = Callable[[int], bytes]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["zebra", "AnnualCrop", "cat"]


def opened(text: object, **options: Any) -> ImageSource:
    return open_dataset(f"hf:{text}", data=Path("nowhere"), options=FolderOptions(**options))


def metadata(label: str = "label", names: Sequence[str] = NAMES) -> dict[str, str]:
    features = {
        "image": {"_type": "Image"},
        label: {"names": list(names), "_type": "ClassLabel"},
    }
    return {"huggingface": json.dumps({"info": {"features": features}})}


def write(path: Path, images: Sequence[bytes | None], labels: Sequence[Any], **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = more.pop("label", "label")
    described = more.pop("described", metadata(label))
    columns = {
        "image": pa.array([{"bytes": each, "path": "../../../etc/passwd"} for each in images]),
        label: pa.array(labels),
        **more,
    }
    table = pa.table(columns).replace_schema_metadata(described)
    pq.write_table(table, path, row_group_size=3)
    return path


@pytest.fixture(name="copy")
def _copy(tmp_path: Path, make_image: MakeImage) -> Path:
    """A local copy of a dataset with a train and a test file."""
    folder = tmp_path / "animals"
    for first, split in [(0, "train"), (6, "test")]:
        images = [make_image(first + n) for n in range(6)]
        write(folder / "data" / f"{split}-00000-of-00001.parquet", images, [0, 1, 2] * 2)
    (folder / "README.md").write_text("# animals")
    return folder


def test_an_image_in_parquet_and_the_same_file_have_one_digest(
    tmp_path: Path, copy: Path, make_image: MakeImage
) -> None:
    source = opened(copy)
    index = build_index(source)
    for number in range(12):
        place = tmp_path / "own" / "train" / f"c{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(make_image(number))
    own = build_index(open_dataset(f"imagefolder:{tmp_path / 'own'}", data=tmp_path))
    assert set(index.image_sha256) == set(own.image_sha256)
    assert index.paths[0] == "data/test-00000-of-00001.parquet/image/00000000"
    assert index.splits == ("test",) * 6 + ("train",) * 6


def test_classes_are_named_and_ordered_by_the_metadata(copy: Path) -> None:
    source = opened(copy)
    assert (source.name, source.folder) == ("animals", copy)
    assert source.class_names == ("zebra", "Annual Crop", "cat")
    assert any("AnnualCrop is 'Annual Crop'" in note for note in source.notes)


def test_labels_without_metadata_are_what_they_are(tmp_path: Path, make_image: MakeImage) -> None:
    images = [make_image(n) for n in range(4)]
    write(tmp_path / "a" / "x.parquet", images, ["dog", "cat"] * 2, described=None)
    assert opened(tmp_path / "a").class_names == ("cat", "dog")
    for broken in ({"huggingface": "no JSON"}, {"huggingface": "[]"}, {"huggingface": "{}"}):
        write(tmp_path / "a" / "x.parquet", images, [1, 0] * 2, described=broken)
        assert opened(tmp_path / "a").class_names == ("0", "1")


def test_withheld_labels_are_counted_and_train_is_divided(
    tmp_path: Path, make_image: MakeImage
) -> None:
    folder = tmp_path / "a"
    write(folder / "train.parquet", [make_image(n) for n in range(6)], [0, 1] * 3)
    write(folder / "test.parquet", [make_image(n) for n in range(6, 8)], [-1, None])
    source = opened(folder)
    assert [each.reason for each in source.excluded] == ["no label"] * 2
    assert {file.split for file in source.files} == {None}


def test_columns_are_found_by_the_metadata_or_named(tmp_path: Path, make_image: MakeImage) -> None:
    images = [make_image(n) for n in range(4)]
    folder = tmp_path / "a"
    write(folder / "x.parquet", images, [0, 1] * 2, label="species", patient=pa.array([7, 7, 8, 9]))
    source = opened(folder, columns=(("group", "patient"),))
    assert source.class_names == ("zebra", "Annual Crop")
    assert [file.group for file in source.files] == ["7", "7", "8", "9"]
    raw = pa.array(images)
    write(folder / "x.parquet", images, [0, 1] * 2, raw=raw, described=None)
    assert opened(folder).files[0].path == "x.parquet/image/00000000"
    named = opened(folder, columns=(("image", "raw"),))
    assert named.files[0].path == "x.parquet/raw/00000000"
    assert len(build_index(named)) == 4
    with pytest.raises(DatasetError, match="expected one with the bytes of images"):
        opened(folder, columns=(("image", "label"),))
    pq.write_table(pa.table({"a": raw, "b": raw, "label": [1, 2, 3, 4]}), folder / "x.parquet")
    with pytest.raises(DatasetError, match=r"there are 'a', 'b'\): name it with --columns image="):
        opened(folder)
    pq.write_table(pa.table({"a": raw, "labels": [1, 2, 3, 4]}), folder / "x.parquet")
    with pytest.raises(DatasetError, match="did you mean 'labels'"):
        opened(folder)


def test_a_label_beyond_the_named_classes_is_an_error(
    tmp_path: Path, make_image: MakeImage
) -> None:
    write(tmp_path / "a" / "x.parquet", [make_image(n) for n in range(4)], [0, 1, 2, 3])
    with pytest.raises(DatasetError, match="has the label '3', and its metadata name 3 classes"):
        opened(tmp_path / "a")


def test_a_cell_without_an_image_is_quarantined(tmp_path: Path, make_image: MakeImage) -> None:
    images = [*(make_image(n) for n in range(4)), None, b"no image at all"]
    write(tmp_path / "a" / "x.parquet", images, [0, 1] * 3)
    index = build_index(opened(tmp_path / "a"), max_bad_fraction=0.5)
    assert len(index) == 4
    assert [file.reason for file in index.quarantined] == [
        "the row holds no image, perhaps only the path of one"
    ]
    assert [file.reason for file in index.excluded] == ["not an image"]


def test_a_copy_that_lacks_files_is_an_error(copy: Path, make_image: MakeImage) -> None:
    write(copy / "data" / "val-00001-of-00003.parquet", [make_image(20)], [0])
    with pytest.raises(DatasetError, match=r"has 1 of the 3 files data/val-\*-of-00003"):
        opened(copy)
    assert len(opened(copy, ignore=("data/val*",)).files) == 12


def test_several_configurations_are_told_apart(tmp_path: Path, make_image: MakeImage) -> None:
    for name in ("small", "large"):
        for split in ("train", "test"):
            images = [make_image(n) for n in range(2)]
            write(tmp_path / "a" / name / split / "0000.parquet", images, [0, 1])
    with pytest.raises(DatasetError, match="several configurations: 'large', 'small'"):
        opened(tmp_path / "a")
    assert {file.split for file in opened(tmp_path / "a" / "small").files} == {"train", "test"}


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is damaged"), (b"PAR1xxxxPAR1", "is damaged"), (b"x" * 5000, "is damaged")],
)
def test_a_damaged_file_is_one_clear_error(copy: Path, content: bytes, words: str) -> None:
    (copy / "data" / "train-00000-of-00001.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=words) as error:
        opened(copy)
    assert "\n" not in str(error.value)


def test_what_is_no_copy_says_what_to_write(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "missing", "there is no folder"),
        (tmp_path / "empty", "has no Parquet files; a folder of image files is imagefolder:PATH"),
        ("", "write hf:OWNER/NAME"),
        ("name", "names no dataset of the Hugging Face hub"),
        ("owner/../../etc", "names no dataset of the Hugging Face hub"),
        ("owner/name@", "names no dataset of the Hugging Face hub"),
        ("owner/na\nme", "names no dataset of the Hugging Face hub"),
        ("x" * 10_000, "names no dataset of the Hugging Face hub"),
    ]
    for text, words in cases:
        with pytest.raises(DatasetError, match=words) as error:
            opened(text)
        assert len(str(error.value)) < 600
    with pytest.raises(DatasetError, match="drop --images"):
        open_dataset(f"hf:{copy}", data=tmp_path, images=tmp_path)


def test_a_link_of_a_copy_that_leads_out_is_not_read(tmp_path: Path, copy: Path) -> None:
    secret = (copy / "data" / "train-00000-of-00001.parquet").rename(tmp_path / "secret.parquet")
    (copy / "data" / "train-00000-of-00001.parquet").symlink_to(secret)
    with pytest.raises(DatasetError, match="leads out of the folder"):
        opened(copy)


@pytest.fixture(name="cache")
def _cache(tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub after a download of `owner/animals`, and no network."""
    from huggingface_hub import constants  # noqa: PLC0415  # takes a second

    repository = tmp_path / "cache" / "datasets--owner--animals"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for number, path in enumerate(sorted(copy.glob("data/*.parquet"))):
        blob = repository / "blobs" / f"{number:064x}"
        path.rename(blob)
        link = repository / "snapshots" / COMMIT / "data" / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../../blobs/{blob.name}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_the_cache_of_the_hub_is_read_without_a_network(cache: Path) -> None:
    source = opened("owner/animals")
    assert source.name == "animals"
    assert source.folder == cache / "datasets--owner--animals" / "snapshots" / COMMIT
    assert any(f"write hf:owner/animals@{COMMIT} to stay with it" in n for n in source.notes)
    assert len(build_index(source)) == 12


def test_a_pinned_revision_says_nothing_and_a_folder_of_the_cache_has_the_same_name(
    cache: Path,
) -> None:
    source = opened(f"owner/animals@{COMMIT}")
    assert not any("revision" in note for note in source.notes)
    folder = opened(source.folder)
    assert (folder.name, folder.files) == (source.name, source.files)
    assert len(opened(f"owner/animals/data@{COMMIT}").files) == 12
    assert cache.is_dir()


def test_what_is_not_in_the_cache_says_how_to_get_it(cache: Path) -> None:
    with pytest.raises(DatasetError, match="hf:owner/other cannot be downloaded") as error:
        opened("owner/other")
    assert "write hf:./FOLDER" in str(error.value)
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        opened("owner/animals@no-such-branch")
    assert sorted(each.name for each in cache.iterdir()) == ["datasets--owner--animals"]


def test_an_error_of_the_clients_http_library_is_one_clear_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub  # noqa: PLC0415  # takes a second

    class ReadTimeoutError(Exception):
        """As httpx has it, which derives from none of Python's errors."""

    def snapshot_download(*_: object, **__: object) -> str:
        raise ReadTimeoutError("The read operation timed out")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(DatasetError, match=r"cannot be downloaded \(ReadTimeoutError: The read"):
        opened("owner/animals")
    assert cache.is_dir()


def test_class_names_that_differ_by_spaces_alone_are_refused(
    tmp_path: Path, make_image: MakeImage
) -> None:
    images = [make_image(n) for n in range(4)]
    described = metadata(names=["cat", "cat ", "dog"])
    write(tmp_path / "a" / "0.parquet", images, [0, 1] * 2, described=described)
    with pytest.raises(DatasetError, match="name a class twice"):
        opened(tmp_path / "a")


def test_a_folder_without_a_leading_dot_is_spelled_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=r"'pictures' is a folder: write hf:\./pictures"):
        open_dataset("hf:pictures", data=tmp_path)
