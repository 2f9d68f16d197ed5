"""A run that finds nothing to do says so, and one that has something left to do does it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from clip_adapter.pipeline.train import Training
from clip_adapter.runs import RunStoreError
from flows.train_adapters import train_adapters
from tasks.publishing import publish_leaderboard

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
Train = Callable[..., Any]
PutPhotos = Callable[..., Path]


@pytest.fixture(name="train")
def _train(photos: Path, root: Path, tiny_model: str) -> Train:
    """Run the flow; its final state when `return_state` is set."""
    return partial(
        train_adapters,
        f"imagefolder:{photos}",
        tiny_model,
        root=str(root),
        methods=["zero-shot", "linear-probe"],
        shots=[1],
        seeds=[1],
        name=f"photos-{uuid4().hex}",  # other tests publish on this server, too
    )


def test_a_second_run_is_up_to_date_and_tells_the_caller_what_there_is(train: Train) -> None:
    first, second = (train(return_state=True) for _ in range(2))
    assert (first.name, second.name) == ("Completed", "UpToDate")
    assert second.is_completed()
    assert second.message == "90 features and 2 runs recorded"
    trained = train()
    assert isinstance(trained, Training)
    assert (trained.runs.n_reused, trained.is_up_to_date) == (2, True)


@pytest.fixture(name="published")
def _published(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The datasets whose leaderboard is published."""
    noted: list[Any] = []

    def publish(**place: Any) -> None:
        noted.append(place["dataset"])
        publish_leaderboard(**place)

    monkeypatch.setattr("flows.train_adapters.publish_leaderboard", publish)
    return noted


def test_who_is_up_to_date_publishes_nothing(train: Train, published: list[Any]) -> None:
    train()
    train()
    assert len(published) == 1


def test_images_that_come_back_are_published_again(
    train: Train, photos: Path, put_photos: PutPhotos, published: list[Any]
) -> None:
    train()
    put_photos(photos, "red", [90])
    train()
    (photos / "red" / "090.jpg").unlink()
    assert train(return_state=True).name == "UpToDate"
    assert len(published) == 3
    train()
    assert len(published) == 3


def test_what_was_not_published_before_the_run_was_killed_is_published_by_the_next(
    train: Train, published: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("flows.train_adapters.publish_leaderboard", lambda **_: None)
        train()
    assert train(return_state=True).name == "UpToDate"
    assert len(published) == 1


def test_a_new_photo_is_work(train: Train, photos: Path, put_photos: PutPhotos) -> None:
    train()
    put_photos(photos, "red", [90])
    assert train(return_state=True).name == "Completed"


def test_a_prompt_that_was_not_encoded_is_work(train: Train) -> None:
    train()
    assert train(templates=["one more {}."], return_state=True).name == "Completed"


def test_a_decision_that_was_not_made_is_work(train: Train) -> None:
    """As after a run that was stopped between training and deciding."""
    train()
    deciding = train(promote=True, return_state=True)
    assert deciding.name == "Completed"
    again = train(promote=True, return_state=True)
    assert again.name == "UpToDate"
    assert "linear-probe at 1 shot, seed 1 was refused and is not compared again" in again.message


def test_a_sweep_that_cannot_promote_is_refused_before_anything_is_read(
    train: Train, root: Path
) -> None:
    with pytest.raises(RunStoreError, match="none learns"):
        train(methods=["zero-shot"], promote=True)
    assert not root.exists()
