"""Photos and store are moved to another folder: the next command finds everything as it was."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_adapter.runs import query
from feature_cache import ObjectPath, locate, storage
from feature_cache.storage import is_digest_name

Command = Callable[..., Any]
GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(name="ask")
def _ask(command: Command) -> Callable[..., Any]:
    """Train, promote and read what there is; the answers as JSON."""

    def ask(folder: Path, root: Path, *options: str) -> dict[str, Any]:
        dataset, place = f"imagefolder:{folder}", ("--root", root, "--json")
        few = ("--methods", "zero-shot,gda", "--shots", "4", "--seeds", "1,2", "--promote")
        trained = command("train", dataset, "--model", "glyphs", *few, *options, *place)
        assert trained.code == 0, trained.err
        summary = json.loads(trained.out)
        champion = json.loads(command("champion", dataset, *place).out)
        board = [
            # A sum over runs differs in its last bits from query to query.
            {
                name: round(cell, 9) if isinstance(cell, float) else cell
                for name, cell in row.items()
            }
            for row in query(
                locate(str(root)), "SELECT * FROM leaderboard ORDER BY ALL"
            ).to_pylist()
        ]
        # Not all of the champion, whose file lies elsewhere.
        return {"summary": summary, "leaderboard": board, "champion": champion["promotion_id"]}

    return ask


@pytest.mark.parametrize("name", [None, "imagefolder-colours-1a2b3c4d", "rainbow"])
def test_a_moved_dataset_keeps_its_name_its_numbers_and_its_champion(
    ask: Callable[..., Any], tmp_path: Path, name: str | None
) -> None:
    """A name by path, which earlier versions made, is recognised; one that was given is given again."""
    folder = shutil.copytree(GOLDEN / "colours", tmp_path / "here" / "colours")
    options = ("--name", name) if name else ()
    before = ask(folder, tmp_path / "here" / "store", *options)
    (tmp_path / "here").rename(tmp_path / "there")
    again = ("--name", name) if name == "rainbow" else ()
    after = ask(tmp_path / "there" / "colours", tmp_path / "there" / "store", *again)
    assert before["summary"]["runs_trained"] == 3
    done = [after["summary"][each] for each in ("encoded", "runs_trained", "dataset")]
    assert done == [0, 0, name or "colours"]
    for each in ("leaderboard", "champion"):
        assert after[each] == before[each]


def test_a_store_that_is_copied_into_a_bucket_keeps_its_numbers_and_its_champion(
    ask: Callable[..., Any], command: Command, tmp_path: Path, object_root: ObjectPath
) -> None:
    folder = shutil.copytree(GOLDEN / "colours", tmp_path / "colours")
    before = ask(folder, tmp_path / "store")
    for path in sorted((tmp_path / "store").rglob("*")):
        if path.is_file() and is_digest_name(path.name, path.suffix):
            place: Any = object_root
            for part in path.relative_to(tmp_path / "store").parts:
                place /= part
            storage.write_atomic(place, pa.py_buffer(path.read_bytes()))
    there: Any = object_root.url
    verified = command("cache", "verify", "--deep", "--root", there)
    assert verified.code == 0, verified.out
    after = ask(folder, there)
    done = [after["summary"][each] for each in ("encoded", "runs_trained", "dataset")]
    assert done == [0, 0, "colours"]
    for each in ("leaderboard", "champion"):
        assert after[each] == before[each]


def test_questions_about_the_folder_are_answered_from_the_dataset(
    command: Command, tmp_path: Path, put_photos: Callable[..., Path], tiny_model: str, root: Path
) -> None:
    """By the folder that it was read from, also where another dataset has the name of that folder."""
    for number, name in enumerate(("photos", "others")):
        folder = tmp_path / name / "photos"
        for colour in ("red", "blue"):
            put_photos(folder, colour, range(100 * number, 100 * number + 5 + number))
        named = ("--name", name) if number else ()
        where = (f"imagefolder:{folder}", "--model", tiny_model, "--root", root, *named)
        assert command("extract", *where).code == 0
    export = partial(command, "cache", "export", "--root", root, "--json", "--to")
    for name, n_rows in (("photos", 10), ("others", 12)):
        for dataset in (name, f"imagefolder:{tmp_path / name / 'photos'}"):
            written = export(tmp_path / "features.npz", "--dataset", dataset, "--overwrite")
            found = json.loads(written.out)
            assert (found["dataset"], found["rows"]) == (name, n_rows)
