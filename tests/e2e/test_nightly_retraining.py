"""Retraining that nobody watches: what is proven better reigns, whatever is killed on the way."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
from nights import DEPLOYMENT, Gallery, Saboteur, tell
from servers import Prefect, wait_until

from clip_adapter.datasets import open_dataset
from clip_adapter.runs import PromotionStore, query

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LASTING = (
    *("sequence", "decision", "method", "shots", "seed", "n_images"),
    *("accuracy_challenger", "accuracy_champion", "low", "high", "classifier_sha256"),
)
KILLS, SEED = (3, 3, 3, 1), 5


@pytest.fixture(name="gallery")
def _gallery(tmp_path: Path) -> Gallery:
    open_dataset("digits", data=tmp_path / "all")
    return Gallery(tmp_path / "gallery", tmp_path / "all" / "digits")


def final_state(root: Path) -> dict[str, Any]:
    """Everything of a store that does not depend on when it was written."""
    (dataset,) = PromotionStore(root).datasets()
    features = {
        (path.parent.name, *(str(value) for value in row.values()))
        for path in (root / "features").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    runs = query(
        root,
        "SELECT DISTINCT fingerprint, method, shots, seed, split, name, value "
        "FROM runs JOIN metrics USING (run_id) WHERE status = 'completed'",
    ).to_pylist()
    decisions = [
        {name: value for name, value in vars(each).items() if name in LASTING}
        for each in PromotionStore(root).history(dataset)
    ]
    champion = PromotionStore(root).champion(dataset, on_damage=pytest.fail)
    assert champion is not None
    return {
        "features": features,
        "runs": {tuple(row.values()) for row in runs},
        "decisions": decisions,
        "champion": champion.content,
    }


def test_nights_of_retraining(prefect: Prefect, gallery: Gallery, root: Path) -> None:
    nights = dict(tell(prefect, gallery))
    assert {night: run["state_name"] for night, run in nights.items()} == {
        "a few pictures": "Completed",
        "many more": "Completed",
        "nothing new": "UpToDate",
        "more under wrong names": "Completed",
    }
    (dataset,) = PromotionStore(root).datasets()
    few, many, spoiled = PromotionStore(root).history(dataset)
    assert (many.decision, many.champion_before) == ("promoted", few.promotion)
    assert many.low > 0
    assert (spoiled.decision, spoiled.champion_before) == ("refused", many.promotion)
    assert spoiled.high < 0
    champion = PromotionStore(root).champion(dataset, on_damage=pytest.fail)
    assert champion is not None
    assert champion.record == many
    # The regression was told to the server, which has stopped the nights until somebody looks.
    wait_until(lambda: prefect.deployment(DEPLOYMENT)["paused"], 60)


def test_ten_kills_change_nothing_that_stays(
    gallery: Gallery, tmp_path: Path, make_prefect: Callable[[Path, Path], Prefect]
) -> None:
    for _ in tell(make_prefect(tmp_path / "calm", tmp_path / "calm-store"), gallery):
        pass
    shutil.rmtree(gallery.folder)
    saboteur = Saboteur(Random(SEED), kills=list(KILLS))  # noqa: S311  # moments, not secrets
    for _ in tell(make_prefect(tmp_path / "wild", tmp_path / "wild-store"), gallery, saboteur):
        pass
    assert {kind for kind, _ in saboteur.done} == {"worker", "server"}
    assert [state for _, state in saboteur.done].count("RUNNING") > 1, saboteur.done
    assert len(saboteur.done) == sum(KILLS) == 10, saboteur.done
    assert final_state(tmp_path / "wild-store") == final_state(tmp_path / "calm-store")
