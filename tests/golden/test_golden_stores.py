"""Stores that an earlier version made are answered for as they were then.

`store-1` was made by the version before schema 2 from the images in `colours`:

    clip-adapter train imagefolder:colours --model glyphs --shots 1,4 --seeds 1,2 \
        --methods zero-shot,linear-probe,clip-adapter --promote --root store-1
"""

import json
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.runs import RUN_TABLES, PromotionStore, query
from feature_cache import IndexStore, inspect_store, stores

GOLDEN = Path(__file__).parent
STORE = GOLDEN / "store-1"
DATASET = "imagefolder-colours-335028bb"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "store-1.json").read_text())


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """DuckDB's threads add up in any order, so that the last bits of a deviation differ."""
    return [
        {
            name: round(value, 12) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    ]


@pytest.mark.parametrize("view", ["leaderboard", "champion", "per_class"])
def test_a_view_answers_as_it_did_then(view: str) -> None:
    rows = query(STORE, f"SELECT {', '.join(EXPECTED[view][0])} FROM {view}").to_pylist()
    found = json.loads(json.dumps(rows, default=str))
    assert rounded(found) == rounded(EXPECTED[view])


def test_the_classifier_of_the_champion_reads() -> None:
    champion = PromotionStore(STORE).champion(DATASET, on_damage=lambda _: None)
    assert champion is not None
    assert champion.record.promotion_id == EXPECTED["champion"][0]["promotion_id"]


def test_every_file_is_sound() -> None:
    findings = inspect_store(STORE, deep=True, schemas=RUN_TABLES)
    assert {finding.problem for finding in findings} == {None}


def test_every_image_has_its_feature() -> None:
    [features] = stores(STORE)
    [fingerprint] = IndexStore(STORE, DATASET).fingerprints()
    index = IndexStore(STORE, DATASET).read(fingerprint)
    digests = index.column("image_sha256").to_pylist()
    assert len(features.read_images(digests)) == len(digests) == 270
