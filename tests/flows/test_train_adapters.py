import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import ParameterTypeError

from clip_adapter.datasets import DatasetError
from clip_adapter.errors import UnknownNameError
from clip_adapter.pipeline.train import Training
from clip_adapter.runs import query
from clip_adapter.shots import ALL_SHOTS
from flows.train_adapters import train_adapters

pytestmark = pytest.mark.usefixtures("prefect_server")


def train(folder: Path, model: str, root: Path, **parameters: Any) -> Training:
    quick = {"clip-adapter": {"epochs": 2}}
    asked = {"shots": [1], "seeds": [1, 2], "settings": quick} | parameters
    trained: Any = train_adapters(f"imagefolder:{folder}", model, root=str(root), **asked)
    return cast("Training", trained)  # Prefect's types hold a state possible, too


def test_the_same_flow_run_again_encodes_and_trains_nothing(
    photos: Path, root: Path, tiny_model: str
) -> None:
    first = train(photos, tiny_model, root)
    files = sorted(root.rglob("*"))
    again = train(photos, tiny_model, root)
    assert (first.encoded.n_encoded, first.runs.n_trained, first.runs.n_reused) == (90, 5, 0)
    assert (again.encoded.n_encoded, again.runs.n_trained, again.runs.n_reused) == (0, 0, 5)
    assert sorted(root.rglob("*")) == files
    board = query(root, "SELECT method, shots, seeds FROM leaderboard ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in board] == [
        ("clip-adapter", 1, 2),
        ("linear-probe", 1, 2),
        ("zero-shot", 0, 1),
    ]


def test_what_cannot_be_shown_fails_no_run(
    photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room on the wall")

    monkeypatch.setattr("clip_adapter.pipeline.summary.summarize", refuse)
    assert train(photos, tiny_model, root, methods=["zero-shot"], settings={}).runs.n_trained == 1
    assert not (root / "reports").exists()


def test_what_a_run_came_to_is_published(photos: Path, root: Path, tiny_model: str) -> None:
    name = f"photos-{uuid4().hex}"  # other tests publish on this server, too
    train(photos, tiny_model, root, methods=["zero-shot"], settings={}, name=name)
    with get_client(sync_client=True) as client:
        keys = [f"leaderboard-{name}", f"summary-{name}"]
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys))
        )
    assert sorted(str(each.key) for each in found) == keys
    assert [path.name for path in (root / "reports").iterdir()] == [f"{name}.html"]


def test_too_many_shots_record_nothing(photos: Path, root: Path, tiny_model: str) -> None:
    with pytest.raises(DatasetError, match="has too few images for 40 shots"):
        train(photos, tiny_model, root, shots=[1, 40])
    assert not (root / "runs").exists()


def test_all_shots_train_on_every_training_image(photos: Path, root: Path, tiny_model: str) -> None:
    train(photos, tiny_model, root, shots=["all", 1], methods=["clip-adapter"])
    (row,) = query(
        root,
        "SELECT DISTINCT n_train, epochs, (SELECT count(*) FROM images WHERE split = 'train') AS n "
        f"FROM runs WHERE shots = {ALL_SHOTS}",
    ).to_pylist()
    assert row["n_train"] == row["n"] > 30


def test_a_number_of_shots_is_checked_before_any_work(
    photos: Path, root: Path, tiny_model: str
) -> None:
    with pytest.raises(ParameterTypeError):
        train(photos, tiny_model, root, shots=["every"])
    assert not root.exists()


def test_a_misspelt_setting_is_refused_before_anything_is_read(
    photos: Path, root: Path, tiny_model: str
) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'epochs'"):
        train(photos, tiny_model, root, settings={"clip-adapter": {"epoch": 2}})
    assert not root.exists()


def test_a_moved_dataset_and_store_are_as_they_were(
    photos: Path, root: Path, tiny_model: str, tmp_path: Path
) -> None:
    board = "SELECT * FROM leaderboard ORDER BY ALL"
    asked: dict[str, Any] = {"methods": ["gda"], "shots": [4], "promote": True}
    asked |= {"settings": {}, "max_relabelled_fraction": 1.0}
    first = train(photos, tiny_model, root, **asked)
    before = query(root, board).to_pylist()
    there = tmp_path / "there"
    there.mkdir()
    folder, store = photos.rename(there / "photos"), root.rename(there / "store")
    again = train(folder, tiny_model, store, **asked)
    assert again.is_up_to_date
    assert again.encoded.dataset.name == first.encoded.dataset.name == "photos"
    assert query(store, board).to_pylist() == before
    assert again.promotion is not None
    assert first.promotion is not None
    assert again.promotion.record == first.promotion.record


def test_a_run_on_another_dataset_of_the_name_ends_by_asking_for_a_name(
    photos: Path, root: Path, tiny_model: str, put_photos: Callable[..., Path]
) -> None:
    quick: dict[str, Any] = {"methods": ["zero-shot"], "settings": {}}
    train(photos, tiny_model, root, **quick)
    for colour in ("red", "green", "blue"):
        shutil.rmtree(photos / colour)
        put_photos(photos, colour, range(100, 130))
    state: Any = train(photos, tiny_model, root, return_state=True, **quick)
    assert state.is_failed()
    assert "only 0 of its 90 images are among the 90" in state.message
    assert "write --name photos to go on with that dataset" in state.message
    assert train(photos, tiny_model, root, name="photos", **quick).runs.n_trained == 1


def test_what_prefect_keeps_of_a_failure_is_no_pickle(
    photos: Path, root: Path, tiny_model: str
) -> None:
    storage = Path(os.environ["PREFECT_HOME"]) / "storage"
    before = set(storage.glob("*"))
    with pytest.raises(DatasetError):
        train(photos, tiny_model, root, shots=[40])
    kept = [path.read_bytes() for path in set(storage.glob("*")) - before]
    assert [text for text in kept if b"gASV" in text or b"gAWV" in text] == []
