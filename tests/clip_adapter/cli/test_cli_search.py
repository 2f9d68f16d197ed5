"""The search command: what it prints and writes, and how it refuses."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Command = Callable[..., Any]


@pytest.fixture(name="search")
def _search(command: Command, extract: Command, root: Path, monkeypatch: Any) -> Command:
    """Run `clip-adapter search` on ninety encoded photos; no encoder is loaded for it."""
    assert extract().code == 0

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an encoder is loaded")

    monkeypatch.setattr("clip_adapter.encoders.load_encoder", refuse)
    return lambda *arguments: command("search", *arguments, "--root", root)


def test_the_images_are_shown_as_a_table(search: Command, photos: Path) -> None:
    outcome = search(photos / "red" / "003.jpg", "--dataset", "photos", "--top", 3)
    assert (outcome.code, outcome.err) == (0, "")
    title, *table = outcome.out.splitlines()
    assert title.startswith("3 of 90 images most like the image '003.jpg', by local-dir:")
    rows = [line.split("│")[1:-1] for line in table if line.startswith("│")]
    assert [cell.strip() for cell in rows[0][:5]] == ["1", "1.0000", "red/003.jpg", "photos", "red"]
    assert len(rows) == 3


def test_every_format_has_the_rows_alone_on_standard_output(
    search: Command, photos: Path, tmp_path: Path
) -> None:
    asked = (photos / "red" / "003.jpg", "--top", 4)
    whole = json.loads(search(*asked, "--format", "json").out)
    assert [row["rank"] for row in whole] == [1, 2, 3, 4]
    outcome = search(*asked, "--format", "jsonl")
    assert [json.loads(line) for line in outcome.out.splitlines()] == whole
    assert outcome.err.startswith("4 of 90 images most like the image '003.jpg'")
    as_csv = list(csv.DictReader(StringIO(search(*asked, "--format", "csv").out)))
    assert as_csv == [{name: str(value) for name, value in row.items()} for row in whole]
    for name in ("a.csv", "a.json", "a.jsonl", "a.parquet"):
        written = search(*asked, "--output", tmp_path / name)
        assert (written.code, written.out) == (0, "")
        assert f"written to {tmp_path / name}" in written.err
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == whole
    assert (tmp_path / "a.csv").read_text() == search(*asked, "--format", "csv").out


@pytest.mark.parametrize(("option", "name"), [("-o", "a.CSV"), ("--html", "a.HTML")])
def test_a_file_is_replaced_only_if_that_is_asked_for(
    search: Command, photos: Path, tmp_path: Path, option: str, name: str
) -> None:
    file = tmp_path / name
    file.write_text("kept")
    asked = (photos / "red" / "003.jpg", "--top", 2, option, file)
    refused = search(*asked)
    assert (refused.code, refused.out, file.read_text()) == (1, "", "kept")
    assert "exists: choose another name" in refused.err
    assert search(*asked, "--overwrite").code == 0
    assert "red/003.jpg" in file.read_text()


def test_a_contact_sheet_is_written_beside_the_table(
    search: Command, photos: Path, tmp_path: Path
) -> None:
    (photos / "red" / "000.jpg").unlink()
    outcome = search(photos / "red" / "003.jpg", "--top", 90, "--html", tmp_path / "a.html")
    assert f"90 images, 1 of them gone, changed or unreadable, in {tmp_path / 'a.html'}" in (
        outcome.err
    )
    assert (tmp_path / "a.html").read_text().count('src="data:image/png;base64,') == 89


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["red", "--output", "a.txt"], 1, "expected a file that ends in .csv, .json"),
        (["red", "--html", "a.png"], 1, "expected a file that ends in .html"),
        (["red", "--text", "--image"], 2, "exclude each other"),
        (["red", "--top", "0"], 2, "--top"),
        (["red", "--dataset", "photoz"], 1, "did you mean 'photos'?"),
        (["red", "--model", "glyphs"], 1, "unknown model 'glyphs'"),
        (["nowhere.png"], 1, "error: there is no file 'nowhere.png', and it looks like a path"),
        (["red", "--image"], 1, "the image 'red' does not exist"),
        ([""], 1, "the query is empty"),
        (["\x1b[2J/x"], 1, r"no file '\x1b[2J/x'"),
    ],
)
def test_a_refusal_is_one_message(
    search: Command, arguments: list[str], code: int, message: str
) -> None:
    outcome = search(*arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in " ".join(outcome.err.split())
    assert "\x1b" not in outcome.err


def test_the_words_of_a_second_search_need_no_encoder(
    command: Command, extract: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extract().code == 0
    first = command("search", "a red square", "--format", "csv", "--root", root)
    assert first.err.startswith("loading ")
    monkeypatch.setattr("clip_adapter.encoders.load_encoder", None)
    again = command("search", "a red square", "--format", "csv", "--root", root)
    assert (again.code, again.out) == (0, first.out)
    assert "loading" not in again.err
