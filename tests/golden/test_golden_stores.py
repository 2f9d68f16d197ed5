"""Stores that an earlier version made are answered for as they were then.

`store-1` was made by the version before schema 2, `store-2` by the first with it, both from the
images in `colours`:

    clip-adapter train imagefolder:colours --model glyphs --shots 1,4 --seeds 1,2 \
        --methods zero-shot,linear-probe,clip-adapter --promote --root STORE
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.datasets import build_index, open_dataset
from clip_adapter.pipeline.index import known_splits
from clip_adapter.pipeline.train import train
from clip_adapter.runs import RUN_TABLES, PromotionStore, query
from feature_cache import IndexStore, inspect_store, stores

GOLDEN = Path(__file__).parent
STORES = ("store-1", "store-2")


def expected_of(store: str) -> dict[str, list[dict[str, Any]]]:
    """What the views answered when the store was made."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{store}.json").read_text())
    return found


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """DuckDB's threads add up in any order, so that the last bits of a deviation differ."""
    return [
        {
            name: round(value, 12) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def by_row(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as text, in an order of their own."""
    return sorted(str(sorted(row.items())) for row in rows)


@pytest.mark.parametrize(
    ("store", "view"), [(store, view) for store in STORES for view in expected_of(store)]
)
def test_a_view_answers_as_it_did_then(store: str, view: str) -> None:
    expected = expected_of(store)[view]
    columns = ", ".join(expected[0]).replace("runs", "len(run_fingerprints) AS runs")
    rows = query(GOLDEN / store, f"SELECT {columns} FROM {view}").to_pylist()
    found = json.loads(json.dumps(rows, default=str))
    assert rounded(found) == rounded(expected)


@pytest.mark.parametrize("store", STORES)
def test_the_classifier_of_the_champion_reads(store: str) -> None:
    (expected,) = expected_of(store)["champion"]
    champion = PromotionStore(GOLDEN / store).champion(
        expected["dataset"], on_corruption=pytest.fail
    )
    assert champion is not None
    assert champion.record.promotion_id == expected["promotion_id"]


@pytest.mark.parametrize("store", STORES)
def test_every_file_is_sound(store: str) -> None:
    findings = inspect_store(GOLDEN / store, deep=True, schemas=RUN_TABLES)
    assert {finding.problem for finding in findings} == {None}


@pytest.mark.parametrize("store", STORES)
def test_every_image_has_its_feature(store: str) -> None:
    (expected,) = expected_of(store)["champion"]
    [features] = stores(GOLDEN / store)
    indexes = IndexStore(GOLDEN / store, expected["dataset"])
    [fingerprint] = indexes.fingerprints()
    digests = indexes.read(fingerprint).column("image_sha256").to_pylist()
    assert len(features.read_images(digests)) == len(digests) == 270


@pytest.mark.parametrize("store", STORES)
def test_the_images_keep_their_splits(store: str) -> None:
    (expected,) = expected_of(store)["champion"]
    indexes = IndexStore(GOLDEN / store, expected["dataset"])
    [fingerprint] = indexes.fingerprints()
    stored = indexes.read(fingerprint).select(["image_sha256", "split"]).to_pydict()
    source = open_dataset(f"imagefolder:{GOLDEN / 'colours'}", data=GOLDEN)
    index = build_index(source, known_splits=known_splits(indexes))
    by_digest = dict(zip(*stored.values(), strict=True))
    assert dict(zip(index.image_sha256, index.splits, strict=True)) == by_digest


@pytest.mark.parametrize("store", STORES)
def test_a_store_is_carried_on_where_its_images_lie_now_without_encoding_anything(
    store: str, tmp_path: Path
) -> None:
    root = shutil.copytree(GOLDEN / store, tmp_path / store)
    asked: dict[str, Any] = {
        "model": "glyphs",
        "methods": ["zero-shot", "linear-probe"],
        "shots": [1],
        "seeds": [1],
        "root": root,
    }
    first, again = (train(f"imagefolder:{GOLDEN / 'colours'}", **asked) for _ in range(2))
    assert (first.encoded.n_encoded, first.encoded.n_reused) == (0, 270)
    assert again.is_up_to_date
    before = expected_of(store)["leaderboard"]
    # The linear probe has a setting more since, so that its runs stand beside those of then.
    columns = ", ".join(before[0].keys() - {"last_run", "seconds_train_mean"})
    rows = query(root, f"SELECT {columns} FROM leaderboard").to_pylist()
    expected = [{name: row[name] for name in rows[0]} for row in before]
    known = {row["settings_fingerprint"] for row in expected}
    new = [row for row in rows if row["settings_fingerprint"] not in known]
    assert [row["method"] for row in new] == ["linear-probe"]
    assert by_row(rounded([row for row in rows if row not in new])) == by_row(rounded(expected))
