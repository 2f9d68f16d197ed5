"""Maintenance looks after what the other flows have written, and leaves a page about it."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from clip_adapter.runs import RunStoreError
from flows.extract_features import extract_features
from flows.maintain_stores import maintain_stores

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(name="store")
def _store(photos: Path, root: Path, tiny_model: str) -> Path:
    extract_features(f"imagefolder:{photos}", tiny_model, root=str(root))
    return root


def last_page() -> str:
    with get_client(sync_client=True) as client:
        answer = client.request("GET", "/artifacts/maintain-stores/latest")
    return str(answer.json()["data"])


def test_a_sound_store_is_left_as_it_is_and_told_of(store: Path) -> None:
    files = sorted(store.rglob("*"))
    done: Any = maintain_stores(root=str(store))
    assert done.verified.damaged == ()
    assert done.compacted.n_folders == done.garbage.n_unfinished == 0
    assert sorted(store.rglob("*")) == files
    assert f"| files verified | {done.verified.n_files} " in last_page()


def test_damage_fails_the_run_after_the_page_is_written(store: Path) -> None:
    victim = next((store / "features").rglob("image/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.raises(RunStoreError, match="cannot be trusted"):
        maintain_stores(root=str(store))
    assert "| damaged | 1 |" in last_page()
    assert victim.name in last_page()
    repaired: Any = maintain_stores(root=str(store), repair=True)
    assert repaired.verified.n_set_aside == 1


def test_nothing_at_rest_is_nothing_to_do(root: Path) -> None:
    done: Any = maintain_stores(root=str(root))
    assert done.verified.n_files == 0
    assert not root.exists()
