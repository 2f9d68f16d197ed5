"""Own data in each of its forms, through the commands and with the features of the others."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_cache import IndexStore

Command = Callable[..., Any]


@pytest.fixture(name="forms")
def _forms(photos: Path) -> dict[str, str]:
    """The photos of three classes as a table, as archives, and as a copy of a hub's dataset."""
    folder = photos.parent
    paths = sorted(photos.glob("*/*.jpg"))
    rows = [(f"{path.parent.name}/{path.name}", path.parent.name) for path in paths]
    scenes = [f"{name}-{int(file[-7:-4]) // 3}" for file, name in rows]
    lines = ["file;species;scene"] + [
        f"{file};{name};{scene}" for (file, name), scene in zip(rows, scenes, strict=True)
    ]
    (photos / "pets.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"{shard}.tar", "w") as archive:
            for path in paths[shard::2]:
                archive.add(path, f"{path.parent.name}/{path.name}")
    table = pa.table(
        {
            "image": pa.array([{"bytes": path.read_bytes(), "path": path.name} for path in paths]),
            "label": [name for _, name in rows],
        }
    )
    (folder / "copy").mkdir()
    pq.write_table(table, folder / "copy" / "train.parquet", row_group_size=20)
    return {
        "pets": f"csv:{photos / 'pets.csv'}",
        "shards": f"webdataset:{folder / 'shards'}/*.tar",
        "copy": f"hf:{folder / 'copy'}",
    }


COLUMNS = ("--columns", "path=file,label=species,group=scene")
TRAINED = ("--methods", "zero-shot", "--shots", "1", "--seeds", "1", "--json")


def trained(command: Command, root: Path, model: str, dataset: str, *more: str) -> dict[str, Any]:
    outcome = command("train", dataset, "--model", model, "--root", root, *TRAINED, *more)
    assert outcome.code == 0, outcome.err
    told: dict[str, Any] = json.loads(outcome.out)
    return told


def test_images_of_one_form_are_not_encoded_again_in_another(
    command: Command, root: Path, tiny_model: str, forms: dict[str, str], tmp_path: Path
) -> None:
    first = command("extract", forms["pets"], *COLUMNS, "--model", tiny_model, "--root", root)
    assert "90 images encoded" in first.out
    for dataset in (forms["shards"], forms["copy"], f"imagefolder:{tmp_path / 'photos'}"):
        again = command("extract", dataset, "--model", tiny_model, "--root", root)
        assert "0 images encoded, 90 reused" in again.out
    listed = json.loads(command("datasets", "--root", root, "--json").out)["indexed"]
    assert {each["dataset"]: each["images"] for each in listed} == {
        "pets": 90,
        "shards": 90,
        "copy": 90,
        "photos": 90,
    }
    assert {each["state"] for each in listed} == {"present"}


def test_own_data_is_shown_with_pictures_and_how_it_was_written(
    command: Command, root: Path, tiny_model: str, forms: dict[str, str], tmp_path: Path
) -> None:
    for name, dataset in forms.items():
        more = COLUMNS if name == "pets" else ()
        command("extract", dataset, *more, "--model", tiny_model, "--root", root)
        page = tmp_path / f"{name}.html"
        shown = command("datasets", "show", name, "--to", page, "--root", root, "--json")
        sheet = json.loads(shown.out)["contact_sheet"]
        assert (sheet["images"], sheet["gaps"]) == (18, 0)
        assert json.loads(shown.out)["dataset"] == name
        by_form = command("datasets", "show", dataset, "--root", root, "--json")
        assert json.loads(by_form.out)["dataset"] == name
    refused = command("train", "pets", "--root", root, "--model", tiny_model)
    assert f"write {forms['pets']}, perhaps with --name pets" in refused.err


def test_no_scene_is_on_two_sides(
    command: Command, root: Path, tiny_model: str, forms: dict[str, str]
) -> None:
    command("extract", forms["pets"], *COLUMNS, "--model", tiny_model, "--root", root)
    store = IndexStore(root, "pets")
    (fingerprint,) = store.fingerprints()
    rows = store.read(fingerprint).to_pylist()
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    assert len(splits) == 30
    assert all(len(each) == 1 for each in splits.values())
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_a_table_of_a_known_name_with_other_images_asks_for_a_name(
    command: Command,
    root: Path,
    tiny_model: str,
    *,
    forms: dict[str, str],
    tmp_path: Path,
    put_photos: Any,
) -> None:
    command("extract", forms["pets"], *COLUMNS, "--model", tiny_model, "--root", root)
    other = tmp_path / "other"
    for colour in ("red", "blue"):
        put_photos(other, colour, range(100, 106))
    lines = [f"{path.parent.name}/{path.name},{path.parent.name}" for path in other.glob("*/*.jpg")]
    (other / "pets.csv").write_text("\n".join(["path,label", *lines]))
    refused = command("extract", f"csv:{other / 'pets.csv'}", "--model", tiny_model, "--root", root)
    assert refused.code == 1
    assert "it is another dataset; name it with --name" in refused.err
    named = command(
        "extract",
        f"csv:{other / 'pets.csv'}",
        "--name",
        "more",
        "--model",
        tiny_model,
        "--root",
        root,
    )
    assert named.code == 0


def test_a_table_that_moves_with_its_images_is_the_same_dataset(
    command: Command, root: Path, tiny_model: str, forms: dict[str, str], photos: Path
) -> None:
    first = trained(command, root, tiny_model, forms["pets"], *COLUMNS)
    moved = photos.rename(photos.parent / "moved")
    again = trained(command, root, tiny_model, f"csv:{moved / 'pets.csv'}", *COLUMNS)
    assert first["dataset"] == again["dataset"] == "pets"
    assert (again["runs_trained"], again["up_to_date"]) == (0, True)


def test_checking_a_table_stores_nothing_and_finds_divided_groups(
    command: Command, root: Path, forms: dict[str, str], photos: Path
) -> None:
    checked = command("datasets", "check", forms["pets"], *COLUMNS, "--json", "--root", root)
    found = json.loads(checked.out)
    assert (found["dataset"], found["images"]) == ("pets", 90)
    assert not root.exists()
    lines = (photos / "pets.csv").read_text(encoding="utf-8-sig").splitlines()
    splits = ["split", *(("train", "test")[number % 2] for number in range(len(lines) - 1))]
    text = "\n".join(f"{line};{split}" for line, split in zip(lines, splits, strict=True))
    (photos / "divided.csv").write_text(text)
    divided = command("datasets", "check", f"csv:{photos / 'divided.csv'}", *COLUMNS)
    assert divided.code == 1
    assert "problem: 30 groups with images in several splits" in divided.out


@pytest.mark.parametrize("text", ["path", "path=", "=file", "path=a,path=b", ""])
def test_columns_of_another_form_are_refused(command: Command, root: Path, text: str) -> None:
    outcome = command("train", "csv:x.csv", "--columns", text, "--root", root)
    assert outcome.code == 2
    assert "is not of the form path=file,label=species" in outcome.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        ("digits", ("--columns", "path=file"), "--columns can change nothing for 'digits'"),
        ("imagefolder:x", ("--columns", "path=file"), "--columns can change nothing"),
        ("webdataset:x/*.tar", ("--columns", "path=file"), "unknown column 'path'"),
        ("webdataset:x/*.tar", ("--images", "y"), "drop --images"),
        ("csv:missing.csv", (), "does not exist; write csv:PATH"),
        ("csv:", (), "does not say which: write csv:PATH"),
        ("hf:nothing", (), "names no dataset of the Hugging Face hub"),
    ],
)
def test_what_can_change_nothing_is_refused(
    command: Command, root: Path, dataset: str, options: tuple[str, ...], words: str
) -> None:
    outcome = command("train", dataset, *options, "--model", "glyphs", "--root", root)
    assert outcome.code != 0
    assert words in outcome.err
    assert not root.exists()


def test_archives_in_an_object_store_are_trained_on_and_shown(
    command: Command,
    root: Path,
    tiny_model: str,
    *,
    forms: dict[str, str],
    tmp_path: Path,
    object_store: Callable[[str], str],
) -> None:
    import boto3  # noqa: PLC0415  # a second, that most tests need not spend

    url = object_store("bucket/own-data/pets")
    host = url.partition("endpoint_override=")[2].partition("&")[0]
    client = boto3.client("s3", endpoint_url=f"http://{host}")
    for path in (tmp_path / "shards").glob("*.tar"):
        client.put_object(Bucket="bucket", Key=f"own-data/pets/{path.name}", Body=path.read_bytes())
    client.close()
    command("extract", forms["shards"], "--model", tiny_model, "--root", root)
    dataset = f"webdataset:{object_store('bucket/own-data/pets/*.tar')}"
    told = trained(command, root, tiny_model, dataset)
    assert (told["dataset"], told["encoded"], told["reused"]) == ("pets", 0, 90)
    page = tmp_path / "page.html"
    shown = json.loads(
        command("datasets", "show", "pets", "--to", page, "--root", root, "--json").out
    )
    assert (shown["state"], shown["source"], shown["contact_sheet"]["gaps"]) == ("remote", url, 0)


def test_a_picture_of_a_stored_tar_that_is_gone_is_a_gap(
    command: Command, root: Path, tiny_model: str, forms: dict[str, str], tmp_path: Path
) -> None:
    command("extract", forms["shards"], "--model", tiny_model, "--root", root)
    shard = tmp_path / "shards" / "0.tar"
    with tarfile.open(shard) as archive:
        members = [(each, archive.extractfile(each)) for each in archive.getmembers()]
        contents = [(each, b"" if file is None else file.read()) for each, file in members]
    with tarfile.open(shard, "w") as archive:
        for member, data in contents[1:]:
            archive.addfile(member, io.BytesIO(data))
    page = tmp_path / "page.html"
    shown = command("datasets", "show", "shards", "--to", page, "--root", root, "--json")
    sheet = json.loads(shown.out)["contact_sheet"]
    assert (sheet["images"], sheet["gaps"]) == (17, 1)
