"""The predict command: formats, files, exit codes."""

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

Command = Callable[..., Any]


@pytest.fixture(scope="session")
def photos_and_champion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Six digits in a folder, and the file of a classifier of digits."""
    # These import what computes.
    from clip_adapter import load, train  # noqa: PLC0415
    from clip_adapter.methods import save_classifier  # noqa: PLC0415
    from clip_adapter.runs import query  # noqa: PLC0415

    root = tmp_path_factory.mktemp("store")
    train("digits", "glyphs", methods=["gda", "zero-shot"], shots=[2], seeds=[1], root=root)
    for row in query(root, "SELECT run_id, method FROM runs").to_pylist():
        name = "classifier" if row["method"] == "gda" else row["method"]
        saved = load(f"run:{row['run_id']}", root=root).saved
        save_classifier(saved, root / f"{name}.safetensors")
    file = root / "classifier.safetensors"
    folder = tmp_path_factory.mktemp("photos")
    for number, path in enumerate(sorted((root / "images").rglob("*.png"))[5::300]):
        Image.open(path).save(folder / f"{number}.png")
    return folder, file


@pytest.fixture
def predict(command: Command, photos_and_champion: tuple[Path, Path], root: Path) -> Command:
    folder, file = photos_and_champion

    def run(*arguments: object) -> Any:
        return command("predict", file, folder, "--root", root, *arguments)

    return run


def test_csv_has_one_row_an_image(predict: Command) -> None:
    done = predict("--format", "csv", "--top", "2")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [Path(row["path"]).name for row in rows] == [f"{n}.png" for n in range(6)]
    assert all(0 <= float(row["confidence_2"]) <= float(row["confidence"]) <= 1 for row in rows)
    assert "6 images classified by gda of digits: 6 encoded" in done.err
    assert done.code == 0


def test_json_lines_are_rows(predict: Command) -> None:
    rows = [json.loads(line) for line in predict("--format", "jsonl").out.splitlines()]
    assert len(rows) == 6
    assert all(row.keys() == {"path", "predicted", "confidence", "error"} for row in rows)


def test_a_table_is_for_people(predict: Command) -> None:
    done = predict()
    assert done.out.split()[:3] == ["path", "class", "conf."]
    assert "%" in done.out
    assert "error" not in done.out


def test_prediction_sets_are_lists_and_an_empty_one_is_none_of_these(
    predict: Command, tmp_path: Path
) -> None:
    sets = []
    for coverage in ("0.6", "0.95"):
        predict("--coverage", coverage, "--output", tmp_path / f"{coverage}.parquet")
        sets.append(pq.read_table(tmp_path / f"{coverage}.parquet")["prediction_set"].to_pylist())
    for narrow, wide in zip(*sets, strict=True):
        assert set(narrow) <= set(wide)
    assert sum(map(len, sets[0])) < sum(map(len, sets[1]))
    rows = json.loads(predict("--coverage", "0.6", "--format", "json").out)
    assert [row["prediction_set"] for row in rows] == sets[0]
    assert all(row["prediction_set"][:1] in ([], [row["predicted"]]) for row in rows)
    lines = csv.DictReader(io.StringIO(predict("--coverage", "0.6", "--format", "csv").out))
    assert [json.loads(line["prediction_set"]) for line in lines] == sets[0]


def test_a_table_names_the_classes_of_a_set(predict: Command) -> None:
    done = predict("--coverage", "0.05")  # so little that most sets are empty
    assert done.out.split()[:5] == ["path", "class", "conf.", "one", "of"]
    assert "none of these" in done.out
    assert "a coverage of 0.05, calibrated on 20 validation images" in done.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--coverage", "0.999"), r"a coverage of 0.999 takes 999 validation images or more"),
        (("--coverage", "1"), "coverage"),
        (("--coverage", "0.9", "--also", "eleven"), "coverage and also: no image"),
    ],
)
def test_a_coverage_that_cannot_be_is_refused_before_anything_is_read(
    predict: Command, root: Path, options: tuple[str, ...], reason: str
) -> None:
    done = predict(*options)
    assert done.code > 0
    assert reason in " ".join(done.err.split())
    assert not (root / "features").exists()


def test_a_classifier_without_calibration_says_what_to_do(
    command: Command, photos_and_champion: tuple[Path, Path], root: Path
) -> None:
    folder, file = photos_and_champion
    done = command(
        "predict", file.parent / "zero-shot.safetensors", folder, "--root", root, "--coverage", 0.9
    )
    assert done.code == 1
    assert "has no calibration for prediction sets" in " ".join(done.err.split())


def test_three_classes_fit_in_80_columns(
    command: Command,
    photos_and_champion: tuple[Path, Path],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, file = photos_and_champion
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("COLUMNS", "80")
    done = command("predict", file, folder.name, "--root", root, "--top", "3")
    heading, _, *rows = done.out.splitlines()
    assert heading.split() == ["path", "class", "conf.", "2nd", "conf.", "3rd", "conf."]
    assert [row.split()[0] for row in rows] == [f"{folder.name}/{n}.png" for n in range(6)]
    assert all(row.count("%") == 3 and len(row) <= 80 for row in rows)


def test_a_file_is_written_whole_and_not_replaced(predict: Command, tmp_path: Path) -> None:
    target = tmp_path / "out" / "rows.parquet"
    assert predict("--output", target).code == 0
    assert pq.read_table(target).column_names == ["path", "predicted", "confidence", "error"]
    assert [path.name for path in target.parent.iterdir()] == ["rows.parquet"]
    again = predict("--output", target)
    assert again.code == 1
    assert "exists: choose another name" in again.err
    assert predict("--output", target, "--overwrite").code == 0


def test_a_format_is_that_of_the_name(predict: Command, tmp_path: Path) -> None:
    predict("--output", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_bytes().startswith(b"path,predicted,confidence,error\n")
    predict("--output", tmp_path / "rows.JSON")
    assert len(json.loads((tmp_path / "rows.JSON").read_text())) == 6
    refused = predict("--output", tmp_path / "rows.docx")
    assert (refused.code, "names no format" in refused.err) == (1, True)
    refused = predict("--format", "parquet")
    assert (refused.code, "name it with --output" in refused.err) == (1, True)
    assert not (tmp_path / "rows.docx").exists()


def test_a_list_comes_on_standard_input(
    command: Command,
    photos_and_champion: tuple[Path, Path],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, file = photos_and_champion
    odd = tmp_path / "a\u2028b\x0bc.png"
    shutil.copy(folder / "2.png", odd)
    names = [f"{folder}/3.png", f"{folder}/gone.png", str(odd)]
    asked = ("predict", file, "-", "--root", root, "--no-cache", "--format", "jsonl")
    for end in ("\n", "\r\n", "\0"):
        content = "".join(f"{name}{end}" for name in names).encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        done = command(*asked)
        rows = [json.loads(line) for line in done.out.split("\n")[:-1]]
        assert [row["path"] for row in rows] == names
        assert [row["error"] is None for row in rows] == [True, False, True]
        assert done.code == 0
    assert not root.exists()


def test_a_damaged_archive_is_a_row_and_a_failure(
    command: Command, photos_and_champion: tuple[Path, Path], root: Path, tmp_path: Path
) -> None:
    folder, file = photos_and_champion
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder / "1.png", arcname="1.png")
        archive.add(folder / "2.png", arcname="2.png")
    with tarfile.open(tmp_path / "a.tar") as archive:
        last = archive.getmembers()[-1].offset
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / "a.tar").read_bytes()[: last + 100])
    done = command("predict", file, cut, "--root", root, "--format", "jsonl")
    first, second = [json.loads(line) for line in done.out.splitlines()]
    assert (first["path"], first["error"]) == (f"{cut}/1.png", None)
    assert (second["path"], second["predicted"]) == (str(cut), None)
    assert "the archive is damaged after 1 images" in second["error"]
    assert "1 images classified" in done.err
    assert "0 unreadable; 1 archives are damaged" in done.err
    assert done.code == 1


def test_no_readable_image_is_a_failure(
    command: Command, photos_and_champion: tuple[Path, Path], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    done = command("predict", photos_and_champion[1], tmp_path / "broken.png", "--root", root)
    assert done.code == 1
    assert "the file is empty" in done.out


def test_a_misspelt_name_is_one_line(
    command: Command, photos_and_champion: tuple[Path, Path]
) -> None:
    folder, file = photos_and_champion
    done = command("predict", "champion:digts", folder, "--root", file.parent)
    assert done.code == 1
    assert "did you mean 'digits'" in done.err


def test_classes_are_added_by_name(
    command: Command, photos_and_champion: tuple[Path, Path], root: Path
) -> None:
    folder, file = photos_and_champion
    zero_shot = file.with_name("zero-shot.safetensors")
    asked = ("predict", zero_shot, folder, "--root", root, "--top", "12", "--format", "csv")
    rows = list(csv.reader(io.StringIO(command(*asked, "--also", "letter A", "--also", "B").out)))
    assert "predicted_12" in rows[0]
    assert all({"letter A", "B"} <= set(row) for row in rows[1:])
    without = list(csv.reader(io.StringIO(command(*asked).out)))
    assert "predicted_11" not in without[0]


def test_a_classifier_without_prototypes_takes_no_further_class(predict: Command) -> None:
    refused = predict("--also", "letter A")
    assert refused.code == 1
    assert "gda has no class prototypes" in refused.err
    assert "expected a classifier of zero-shot, clip-adapter" in refused.err


def test_a_closed_standard_input_is_one_line(
    command: Command,
    photos_and_champion: tuple[Path, Path],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    done = command("predict", photos_and_champion[1], "-", "--root", root)
    assert (done.code, done.out) == (1, "")
    assert "which is closed: name the images" in done.err
