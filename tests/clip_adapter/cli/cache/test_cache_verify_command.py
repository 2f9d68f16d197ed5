import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_cache import FeatureStore, read_table, write_table

Command = Callable[..., Any]
Flip = Callable[[Path], None]


def test_the_quick_look_says_that_it_is_one(cache: Command, store: FeatureStore) -> None:
    outcome = cache("verify")
    assert outcome.code == 0
    assert outcome.out.startswith("the ends of 5 files (0.0 MB) are sound; --deep reads ")
    assert len(store.missing_images([bytes(32)])) == 0


@pytest.mark.usefixtures("store")
def test_the_deep_look_says_that_it_read_every_byte(cache: Command) -> None:
    outcome = cache("verify", "--deep")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("every byte of 5 files (0.0 MB) is sound; read in ")


@pytest.mark.usefixtures("store")
def test_the_summary_is_json_for_programs(cache: Command) -> None:
    told = json.loads(cache("verify", "--deep", "--json").out)
    assert set(told) == {"root", "deep", "files", "bytes", "seconds", "damaged", "missing"}
    assert (told["deep"], told["files"], told["damaged"]) == (True, 5, [])


def test_one_flipped_bit_is_found_and_the_file_named(
    cache: Command, image_files: list[Path], flip_a_bit: Flip
) -> None:
    flip_a_bit(image_files[0])
    outcome = cache("verify", "--deep")
    assert outcome.code == 1
    file, reason, advice, *_, last = outcome.out.splitlines()
    assert file == str(image_files[0])
    assert "SHA-256" in reason
    assert "--repair" in advice
    assert "the next extraction encodes what it held" in advice
    assert last == "1 of 5 files cannot be trusted"


def test_a_truncated_file_is_found_by_its_end_alone(
    cache: Command, image_files: list[Path]
) -> None:
    image_files[0].write_bytes(image_files[0].read_bytes()[:-1])
    outcome = cache("verify", "--json")
    assert outcome.code == 1
    (row,) = json.loads(outcome.out)["damaged"]
    assert (row["path"], row["set_aside"]) == (str(image_files[0]), False)


def test_repair_sets_aside_just_what_is_damaged(
    cache: Command, store: FeatureStore, image_files: list[Path], flip_a_bit: Flip
) -> None:
    held = read_table(image_files[0], kind="image-features", columns=["image_sha256"])
    flip_a_bit(image_files[0])
    outcome = cache("verify", "--deep", "--repair")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith("1 of 5 files set aside; ")
    images = [bytes(31) + end for end in (b"\0", b"1", b"2")]
    assert set(store.missing_images(images)) == set(held.column(0).to_pylist())
    assert len(list(image_files[0].parent.glob("*.damaged"))) == 1
    assert cache("verify", "--deep").code == 0


def test_a_file_in_a_newer_format_is_named_and_stays(
    cache: Command, put_newer_format: Callable[[], Path]
) -> None:
    path = put_newer_format()
    outcome = cache("verify", "--repair")
    assert outcome.code == 1
    assert path.exists()
    assert "upgrade clip-adapter" in outcome.out
    (row,) = json.loads(cache("verify", "--repair", "--json").out)["damaged"]
    assert (row["advice"], row["set_aside"]) == ("upgrade clip-adapter to read it", False)


def test_a_file_of_another_encoder_is_to_be_moved_back(
    cache: Command, root: Path, image_files: list[Path]
) -> None:
    stray = root / "features" / "ffffffffffff" / "image" / image_files[0].name
    stray.parent.mkdir(parents=True)
    stray.write_bytes(image_files[0].read_bytes())
    outcome = cache("verify")
    assert outcome.code == 1
    assert str(stray) in outcome.out
    assert "move the file back to the folder it came from" in outcome.out


def test_a_store_without_files_is_not_called_sound(cache: Command, root: Path) -> None:
    root.mkdir()
    outcome = cache("verify", "--deep")
    assert (outcome.code, outcome.out) == (0, f"no files in {root} yet\n")


@pytest.mark.parametrize("name", ["stats", "verify", "gc", "compact"])
def test_a_root_that_is_not_there_is_an_error(cache: Command, root: Path, name: str) -> None:
    outcome = cache(name)
    assert (outcome.code, outcome.out) == (1, "")
    assert "no store at" in outcome.err
    assert not root.exists()


@pytest.mark.parametrize("name", ["stats", "verify", "gc", "compact"])
def test_an_option_that_does_not_exist_is_wrong_usage(cache: Command, name: str) -> None:
    assert cache(name, "--depe").code == 2


def test_a_root_is_not_read_as_markup(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "[bold]s"
    place.mkdir()
    assert "[bold]s yet" in command("cache", "verify", "--root", place).out


@pytest.mark.parametrize("how", [["--json"], ["--json", "--deep", "--repair"]])
def test_a_table_of_runs_that_another_version_wrote_says_so_and_stays(
    cache: Command, root: Path, how: list[str]
) -> None:
    table = pa.table({"run_id": ["0" * 32], "split": ["test"], "name": ["nll"], "value": ["high"]})
    path = write_table(root / "runs" / "metrics", table, kind="metrics")
    outcome = cache("verify", *how)
    assert outcome.code == 1
    (row,) = json.loads(outcome.out)["damaged"]
    assert (row["path"], row["set_aside"]) == (str(path), False)
    assert "column value" in row["reason"]
    assert "is string, expected double; it is written in format 1" in row["reason"]
    assert row["advice"].startswith("upgrade clip-adapter on this machine, or, where")
    assert "--repair" not in row["advice"]
