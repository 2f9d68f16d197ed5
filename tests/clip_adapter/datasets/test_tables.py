"""Tables of paths and labels, as they come and as a stranger might send them."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_adapter.datasets import (
    DatasetIndex,
    FolderOptions,
    ImageSource,
    build_index,
    labelled_rows,
    open_dataset,
    tables,
)
from clip_adapter.errors import DatasetError, UnknownNameError
from clip_adapter.images import ReadOptions

Put = Callable[[Path, int], Path]
Row = dict[str, Any]

ROWS = [{"path": f"img/{n}.png", "label": "cat" if n < 3 else "dog"} for n in range(6)]
KINDS = ["csv", "jsonl", "parquet"]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, put: Put) -> Path:
    """A folder with six pictures in `img`."""
    for number in range(6):
        put(tmp_path / "data" / "img" / f"{number}.png", number)
    return tmp_path / "data"


def write(folder: Path, kind: str, rows: Sequence[Row]) -> str:
    """Write `labels.<kind>` and return the dataset's name."""
    path = folder / f"labels.{kind}"
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return f"{kind}:{path}"


def opened(dataset: str, **options: Any) -> ImageSource:
    return open_dataset(dataset, data=Path("nowhere"), options=FolderOptions(**options))


def lenient(source: ImageSource) -> DatasetIndex:
    return build_index(source, max_bad_fraction=1.0, may_lose_classes=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_describes_the_same_dataset(folder: Path, kind: str) -> None:
    rows = [
        row | {"split": "Training" if n % 3 else "test", "group": f"p{n}"}
        for n, row in enumerate(ROWS)
    ]
    source = opened(write(folder, kind, rows))
    assert (source.name, source.folder, source.class_names) == ("labels", folder, ("cat", "dog"))
    index = build_index(source)
    assert index.paths == tuple(f"img/{n}.png" for n in range(6))
    assert index.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert index.splits == ("test", "train", "train", "test", "train", "train")
    assert index.groups == tuple(f"p{n}" for n in range(6))


def test_a_table_and_a_folder_of_the_same_files_have_the_same_digests(
    folder: Path, put: Put, tmp_path: Path
) -> None:
    for n in range(6):
        put(tmp_path / "own" / ("cat" if n < 3 else "dog") / f"{n}.png", n)
    table = build_index(opened(write(folder, "csv", ROWS)))
    own = build_index(open_dataset(f"imagefolder:{tmp_path / 'own'}", data=tmp_path))
    assert set(table.image_sha256) == set(own.image_sha256)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_marks_and_quotes_of_spreadsheets_are_understood(
    folder: Path, put: Put, delimiter: str, mark: str
) -> None:
    put(folder / "img" / f"a{delimiter}b.png".replace("\t", " ").replace("|", " "), 7)
    name = f"img/a{delimiter}b.png".replace("\t", " ").replace("|", " ")
    lines = [
        ["path", "label"],
        *([row["path"], row["label"]] for row in ROWS),
        [f'"{name}"', "cat"],
    ]
    text = mark + "\r\n".join(delimiter.join(cells) for cells in lines)
    (folder / "labels.csv").write_text(text, encoding="utf-8", newline="")
    index = build_index(opened(f"csv:{folder}/labels.csv"))
    assert name in index.paths
    assert len(index) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_other_names_are_named(folder: Path, kind: str) -> None:
    rows = [{"file": row["path"], "species": row["label"], "who": n} for n, row in enumerate(ROWS)]
    columns = (("path", "file"), ("label", "species"), ("group", "who"))
    source = opened(write(folder, kind, rows), columns=columns)
    assert [file.group for file in source.files] == list("012345")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ((("label", "specis"),), "did you mean 'species'? name it with --columns label=species"),
        ((), "did you mean 'species'? name it with --columns label=species"),
        ((("label", "species"), ("split", "fold")), "no column 'fold' for the split"),
    ],
)
def test_a_missing_column_is_told_with_the_nearest(
    folder: Path, kind: str, columns: tuple[tuple[str, str], ...], hint: str
) -> None:
    rows = [{"path": row["path"], "species": row["label"]} for row in ROWS]
    with pytest.raises(DatasetError) as error:
        opened(write(folder, kind, rows), columns=columns)
    assert hint in str(error.value)


def test_a_column_that_tables_do_not_have_is_told_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown column 'lable': did you mean 'label'"):
        opened(write(folder, "csv", ROWS), columns=(("lable", "species"),))


@pytest.mark.parametrize("dataset", ["digits", "eurosat", "imagefolder:x", "features:x"])
def test_columns_are_refused_where_there_are_none(dataset: str) -> None:
    with pytest.raises(DatasetError, match="--columns can change nothing"):
        opened(dataset, columns=(("label", "species"),))


def test_a_row_without_a_label_is_counted_and_not_trained_on(folder: Path) -> None:
    rows = [*ROWS[:5], {"path": "img/5.png", "label": ""}]
    source = opened(write(folder, "csv", rows))
    assert [(file.path, file.reason) for file in source.excluded] == [("img/5.png", "no label")]


def test_unlabelled_test_images_leave_train_to_be_divided(folder: Path) -> None:
    rows = [row | {"split": "train"} for row in ROWS] + [
        {"path": "new.png", "label": "", "split": "test"}
    ]
    source = opened(write(folder, "csv", rows))
    assert {file.split for file in source.files} == {None}
    assert any("divided into train, val and test" in note for note in source.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_paths_that_lead_out_are_never_read(folder: Path, kind: str) -> None:
    (folder.parent / "secret.png").write_bytes((folder / "img" / "0.png").read_bytes() + b"secret")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    os.mkfifo(folder / "pipe.png")
    hostile = [
        "../secret.png",
        "img/../../secret.png",
        str(folder.parent / "secret.png"),
        "/etc/passwd",
        "~/secret.png",
        "link.png",
        "pipe.png",
        "/dev/zero",
        "img",
        "img/0.png/x",
        "n" * 3000 + ".png",
        "file:///etc/passwd",
    ]
    rows = [*ROWS, *({"path": path, "label": "cat"} for path in hostile)]
    index = lenient(opened(write(folder, kind, rows)))
    assert set(index.paths) == {row["path"] for row in ROWS}
    assert {file.path for file in index.quarantined} | {file.path for file in index.excluded} >= {
        path.replace("file:///", "file:/") for path in hostile
    }
    refused = next(file for file in index.quarantined if file.path == "../secret.png")
    assert refused.reason.startswith("its path leaves the folder of the dataset")


@pytest.mark.parametrize("absolute", [True, False])
def test_paths_may_lead_below_the_folder_that_the_user_names(
    folder: Path, put: Put, *, absolute: bool
) -> None:
    other = put(folder.parent / "shared" / "cat.png", 8)
    path = str(other) if absolute else "../shared/cat.png"
    dataset = write(folder, "csv", [*ROWS, {"path": path, "label": "cat"}])
    assert path in {file.path for file in lenient(opened(dataset)).quarantined}
    read = ReadOptions(follow_links=other.parent)
    assert path in build_index(opened(dataset, read=read)).paths
    elsewhere = ReadOptions(follow_links=folder / "img")
    assert path in {file.path for file in lenient(opened(dataset, read=elsewhere)).quarantined}


def test_an_absolute_path_below_the_folder_is_a_relative_one(folder: Path) -> None:
    rows = [row | {"path": str(folder / row["path"])} for row in ROWS]
    assert [file.path for file in opened(write(folder, "csv", rows)).files] == [
        row["path"] for row in ROWS
    ]


def test_images_may_lie_in_another_folder(folder: Path, tmp_path: Path) -> None:
    dataset = write(tmp_path, "csv", ROWS)
    source = open_dataset(dataset, data=tmp_path, images=folder)
    assert len(build_index(source)) == 6
    with pytest.raises(DatasetError, match=r"there is no folder .*missing of images"):
        open_dataset(dataset, data=tmp_path, images=tmp_path / "missing")


@pytest.mark.parametrize("kind", KINDS)
def test_names_with_zero_bytes_and_of_ten_thousand_characters_are_counted(
    folder: Path, kind: str
) -> None:
    rows = [*ROWS, {"path": "a\0b.png", "label": "cat"}, {"path": "x" * 10_000, "label": "cat"}]
    index = lenient(opened(write(folder, kind, rows)))
    assert len(index) == 6
    assert [file.reason for file in index.quarantined] == [
        "its path leads nowhere: it holds a zero byte"
    ]
    (long,) = index.excluded
    assert (long.reason, len(long.path)) == ("a cell of more than 4,096 characters", 203)


def test_an_image_that_is_listed_again_counts_once(folder: Path) -> None:
    rows = [*ROWS, ROWS[0], ROWS[0] | {"path": "./img//0.png"}]
    source = opened(write(folder, "csv", rows))
    assert len(source.files) == 6
    assert any("2 rows" in note and "count once" in note for note in source.notes)


def test_an_image_with_two_labels_in_a_table_is_left_out(folder: Path) -> None:
    again = [{"path": "img/0.png", "label": label} for label in ("dog", "cat")]
    source = opened(write(folder, "csv", [*ROWS, *again]))
    assert "img/0.png" not in {file.path for file in source.files}
    assert [(file.path, file.reason) for file in source.excluded] == [("img/0.png", "two labels")]


def test_an_image_in_two_splits_of_a_table_is_an_error(folder: Path) -> None:
    rows = [row | {"split": "train"} for row in ROWS]
    with pytest.raises(DatasetError, match=r"names 'img/0\.png' twice"):
        opened(write(folder, "csv", [*rows, rows[0] | {"split": "test"}]))


def test_an_unknown_split_is_told_with_the_nearest(folder: Path) -> None:
    rows = [row | {"split": "trian"} for row in ROWS]
    with pytest.raises(DatasetError, match=r"has the split 'trian' .*did you mean 'train'"):
        opened(write(folder, "csv", rows))


def test_a_table_without_training_images_is_an_error(folder: Path) -> None:
    rows = [row | {"split": "test"} for row in ROWS]
    with pytest.raises(DatasetError, match="images of test and none of train"):
        opened(write(folder, "csv", rows))


def test_a_table_of_one_class_is_an_error(folder: Path) -> None:
    with pytest.raises(DatasetError, match="the one class 'cat'"):
        opened(write(folder, "csv", ROWS[:3]))


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("csv", b"path,label\nimg/\xff.png,cat\n", "is not UTF-8"),
        ("csv", "path,label\nimg/0.png,cat\n".encode("utf-16"), "is not UTF-8"),
        ("csv", b'path,label\n"img/0.png,cat\n', "line 2 .*is no CSV"),
        ("csv", b"path,label\na,b,c.png,cat\n", "line 2 .*has 4 cells and the header 2"),
        ("csv", b"path,label\n" + b"x" * 200_000 + b",cat\n", "field larger than field limit"),
        ("csv", b"path,label,label\na,b,c\n", "has the column 'label' twice"),
        ("csv", b"", "no column 'path'"),
        ("csv", b"path,label\n", "has no rows"),
        ("jsonl", b'{"path": "a", "label": "b"}\n{"path"\n', "line 2 .*is no JSON"),
        ("jsonl", b'["a", "b"]\n', "line 1 .*is a list"),
        ("jsonl", b'{"path": "a", "label": ["b"]}\n', r"has the value \['b'\]"),
        ("jsonl", b'{"path": "a", "label": 0.5}\n', r"has the value 0\.5"),
        ("jsonl", b"[" * 100_000 + b"\n", "line 1 .*is no JSON"),
        (
            "csv",
            b"path,label\na," + b"x," * 1_000_000,
            "line 2 of .* more than 1,048,576 characters",
        ),
        ("csv", b"path," * 1_000_000, "line 1 of .* more than 1,048,576 characters"),
        ("jsonl", b'{"path": "' + b"x" * 2_000_000 + b'"}\n', "has more than 1,048,576 characters"),
        ("jsonl", b'\xff{"path": "a"}\n', "is not UTF-8"),
        ("parquet", b"PAR1no parquet filePAR1", "is damaged, or no Parquet file"),
        ("parquet", b"", "is damaged, or no Parquet file"),
    ],
)
def test_a_malformed_table_is_one_clear_error(
    tmp_path: Path, kind: str, content: bytes, words: str
) -> None:
    path = tmp_path / f"labels.{kind}"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=words) as error:
        opened(f"{kind}:{path}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_no_table(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in [
        ("missing", "does not exist"),
        ("pipe", "is no regular file"),
        ("", "is no"),
    ]:
        with pytest.raises(DatasetError, match=words):
            opened(f"{kind}:{tmp_path / name}")
    with pytest.raises(DatasetError, match=f"write {kind}:PATH"):
        opened(f"{kind}:")
    with pytest.raises(DatasetError):
        opened(f"{kind}:a\0b")


def test_a_table_that_is_too_large_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(folder, "csv", ROWS)
    monkeypatch.setattr(labelled_rows, "MAX_ROWS", 5)
    with pytest.raises(DatasetError, match="more than 5 rows"):
        opened(dataset)
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 50)
    with pytest.raises(DatasetError, match="larger than 50 bytes"):
        opened(dataset)


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.string()),
    ],
)
def test_text_in_parquet_may_be_stored_in_any_way(folder: Path, kind: pa.DataType) -> None:
    columns = {name: pa.array([row[name] for row in ROWS]).cast(kind) for name in ("path", "label")}
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    assert len(opened(f"parquet:{folder}/labels.parquet").files) == 6


def test_labels_in_parquet_may_be_numbers_and_not_lists(folder: Path) -> None:
    paths = [row["path"] for row in ROWS]
    numbers = pa.table({"path": paths, "label": pa.array([10, 10, 9, 9, 2, None], pa.int16())})
    pq.write_table(numbers, folder / "labels.parquet")
    source = opened(f"parquet:{folder}/labels.parquet")
    assert source.class_names == ("2", "9", "10")
    assert any("the labels are numbers" in note for note in source.notes)
    pq.write_table(pa.table({"path": paths, "label": [[1]] * 6}), folder / "labels.parquet")
    with pytest.raises(DatasetError, match=r"the column 'label' .* is list<"):
        opened(f"parquet:{folder}/labels.parquet")


def test_a_long_text_that_a_dictionary_repeats_is_in_memory_once(folder: Path) -> None:
    n = 20_000
    words = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), ["x" * 1_000_000])
    table = pa.table({"path": [f"{i}.png" for i in range(n)], "label": words})
    pq.write_table(table, folder / "labels.parquet")
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DatasetError, match=r"20,000 a cell of more than 4,096 characters"):
        opened(f"parquet:{folder}/labels.parquet")
    assert pa.default_memory_pool().max_memory() - before < 200_000_000


def test_a_parquet_table_with_images_inside_names_the_form_that_reads_it(folder: Path) -> None:
    table = pa.table({"image": [b"x"], "label": [1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": "{}"}), folder / "labels.parquet")
    with pytest.raises(DatasetError, match="if its images are inside, write hf:"):
        opened(f"parquet:{folder}/labels.parquet")


def test_labels_are_named_by_rules_or_by_a_file(folder: Path, tmp_path: Path) -> None:
    rows = [
        row | {"label": {"cat": "AnnualCrop", "dog": "n01440764"}[row["label"]]} for row in ROWS
    ]
    dataset = write(folder, "csv", rows)
    source = opened(dataset)
    assert source.class_names == ("Annual Crop", "tench")
    assert any(
        "class names from labels: AnnualCrop is 'Annual Crop'" in note for note in source.notes
    )
    (tmp_path / "names.csv").write_text("AnnualCrop,wheat,{} from above\n")
    named = opened(dataset, class_names=tmp_path / "names.csv")
    assert named.class_names == ("wheat", "tench")
    assert named.class_prompts == (("{} from above",), ())


def test_ignored_paths_are_counted_and_a_pattern_for_nothing_is_told(folder: Path) -> None:
    source = opened(write(folder, "csv", ROWS), ignore=("img/0*", "nothing*"))
    assert [(file.path, file.reason) for file in source.excluded] == [("img/0.png", "ignored")]
    assert any("'nothing*' matches nothing" in note for note in source.notes)


def test_a_table_whose_name_has_no_letters_asks_for_a_name(folder: Path) -> None:
    Path(write(folder, "csv", ROWS).removeprefix("csv:")).rename(folder / "写真.csv")
    with pytest.raises(DatasetError, match="with --name"):
        opened(f"csv:{folder}/写真.csv")
    assert opened(f"csv:{folder}/写真.csv", name="photos").name == "photos"


def test_paths_that_lead_nowhere_ask_for_the_folder_that_they_are_relative_to(
    tmp_path: Path, folder: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(DatasetError, match=r"--images FOLDER"):
        build_index(open_dataset(write(elsewhere, "csv", ROWS), data=tmp_path))
    name = write(elsewhere, "csv", ROWS)
    assert len(build_index(open_dataset(name, data=tmp_path, images=folder))) == len(ROWS)


@pytest.mark.parametrize("column", ["label", "group"])
def test_a_text_that_cannot_be_stored_is_counted(folder: Path, column: str) -> None:
    lines = [
        {"path": f"{number}.jpg", "label": "ab"[number % 2], "group": "g"} for number in range(4)
    ]
    lines[2] |= {column: "half of a pair \ud800"}
    table = folder / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, lines)))
    source = opened(f"jsonl:{table}")
    assert [file.path for file in source.files] == ["0.jpg", "1.jpg", "3.jpg"]
    assert [(each.path, each.reason) for each in source.excluded] == [
        ("2.jpg", "a label, split or group that is not valid Unicode")
    ]
