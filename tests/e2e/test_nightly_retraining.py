"""Unattended retraining: what is proven better is promoted, whatever is killed on the way."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
from servers import Prefect, wait_until
from simulated_nights import DEPLOYMENT, PictureFolder, Saboteur, simulate

from clip_adapter.datasets import open_dataset
from clip_adapter.runs import PromotionStore, query

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LASTING = (
    *("sequence", "decision", "method", "shots", "seed", "n_images"),
    *("accuracy_challenger", "accuracy_champion", "low", "high", "classifier_sha256"),
)
KILLS, SEED = (3, 3, 3, 1), 5
MakePrefect = Callable[[Path, Path], Prefect]


@dataclass(frozen=True)
class SimulatedNights:
    """The run of each night, the server and the store."""

    nights: dict[str, Any]
    prefect: Prefect
    root: Path


@pytest.fixture(scope="module", name="digits")
def _digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("all")
    open_dataset("digits", data=data)
    return data / "digits"


@pytest.fixture(scope="module", name="calm")
def _calm(
    digits: Path, tmp_path_factory: pytest.TempPathFactory, make_prefect: MakePrefect
) -> SimulatedNights:
    """Nights without a kill; the folder is removed afterwards, for others to fill it."""
    place = tmp_path_factory.mktemp("calm")
    prefect = make_prefect(place / "prefect", place / "store")
    pictures = PictureFolder(digits.parent / "pictures", digits)
    nights = dict(simulate(prefect, pictures))
    shutil.rmtree(pictures.folder)
    return SimulatedNights(nights, prefect, place / "store")


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
    champion = PromotionStore(root).champion(dataset, on_corruption=pytest.fail)
    assert champion is not None
    return {
        "features": features,
        "runs": {tuple(row.values()) for row in runs},
        "decisions": decisions,
        "champion": champion.content,
    }


def test_nights_of_retraining(calm: SimulatedNights) -> None:
    assert {night: run["state_name"] for night, run in calm.nights.items()} == {
        "a few pictures": "Completed",
        "many more": "Completed",
        "nothing new": "UpToDate",
        "more under wrong names": "Completed",
    }
    (dataset,) = PromotionStore(calm.root).datasets()
    few, many, spoiled = PromotionStore(calm.root).history(dataset)
    assert (many.decision, many.champion_before) == ("promoted", few.promotion)
    assert many.low > 0
    assert (spoiled.decision, spoiled.champion_before) == ("refused", many.promotion)
    assert spoiled.high < 0
    champion = PromotionStore(calm.root).champion(dataset, on_corruption=pytest.fail)
    assert champion is not None
    assert champion.record == many
    # The regression was told to the server, which has stopped the nights until somebody looks.
    wait_until(lambda: calm.prefect.deployment(DEPLOYMENT)["paused"], 60)


def test_ten_kills_change_nothing_that_stays(
    calm: SimulatedNights, digits: Path, tmp_path: Path, make_prefect: MakePrefect
) -> None:
    pictures = PictureFolder(digits.parent / "pictures", digits)
    saboteur = Saboteur(Random(SEED), kills=list(KILLS))  # noqa: S311  # moments, not secrets
    for _ in simulate(make_prefect(tmp_path / "wild", tmp_path / "wild-store"), pictures, saboteur):
        pass
    assert {kind for kind, _ in saboteur.done} == {"worker", "server"}
    assert [state for _, state in saboteur.done].count("RUNNING") > 1, saboteur.done
    assert len(saboteur.done) == sum(KILLS) == 10, saboteur.done
    assert final_state(tmp_path / "wild-store") == final_state(calm.root)
