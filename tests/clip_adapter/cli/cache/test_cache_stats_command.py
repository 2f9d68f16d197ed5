import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.usefixtures("store")
def test_the_cache_says_what_it_holds(cache: Command) -> None:
    told = json.loads(cache("stats", "--json").out)
    (row,) = told["encoders"]
    assert told["damaged"] == []
    assert sorted(row.pop("models")) == ["[red]again\x1b[2J", "tiny"]
    assert row.pop("bytes") // row.pop("mean_file_bytes") == row["files"] == 5
    assert row == {
        "encoder": "0123456789abcdef",
        "precision": "fp32",
        "width": 4,
        "images": 3,
        "views": 4,
        "prompts": 1,
        "files": 5,
    }


@pytest.mark.usefixtures("store")
def test_a_person_reads_it_in_words_and_no_name_is_obeyed(cache: Command) -> None:
    outcome = cache("stats")
    assert (outcome.code, outcome.err) == (0, "")
    assert "3 images, 4 views, 1 prompts" in outcome.out
    assert "tiny" in outcome.out
    assert r"[red]again\x1b[2J" in outcome.out
    assert "\x1b" not in outcome.out
    assert outcome.out.splitlines()[-1].startswith("1 encoder, 5 files, 0.0 MB in ")


def test_an_empty_cache_says_so(cache: Command, root: Path) -> None:
    root.mkdir()
    assert cache("stats").out == f"no features in {root} yet\n"
    assert json.loads(cache("stats", "--json").out)["encoders"] == []


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_damaged_file_is_named_and_not_counted(
    cache: Command,
    image_files: list[Path],
    flip_a_bit: Callable[[Path], None],
    place: int,
    harm: str,
) -> None:
    path = image_files[place]
    flip_a_bit(path) if harm == "flip" else path.write_bytes(path.read_bytes()[:-9])
    outcome = cache("stats")
    assert outcome.code == 1
    assert str(path) in outcome.out
    assert outcome.out.endswith("; 1 damaged and not counted\n")
    (row,) = json.loads(cache("stats", "--json").out)["encoders"]
    assert row["views"] == 2
    assert row["width"] == 4


@pytest.mark.usefixtures("store")
def test_everything_below_the_root_is_counted_with_how_to_free_it(
    cache: Command, root: Path
) -> None:
    for name, n_bytes in {
        "runs/runs/a": 1,
        "champions/pets/b": 2,
        "reports/pets.html": 3,
        "prefect/home/prefect.db": 4,
        "images/pets/c.jpg": 5,
        "mine/d": 6,
        "e": 7,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(n_bytes))
    told = json.loads(cache("stats", "--json").out)
    sizes = {row["what"]: row["bytes"] for row in told["folders"]}
    features = [path.stat().st_size for path in (root / "features").rglob("*.parquet")]
    assert sizes.pop("features") == sum(features)
    assert sizes == {
        "runs": 1,
        "champions": 2,
        "reports": 3,
        "prefect": 4,
        "images": 5,
        "other": 13,
    }
    shown = cache("stats").out
    for words in ("runs prune", "cache drop", "keep: every promoted", "not written by this"):
        assert words in shown
