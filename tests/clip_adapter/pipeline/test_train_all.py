"""Several datasets and models in one call: one table, and what is missing stops nothing."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clip_adapter import reproduce_all, train, train_all
from clip_adapter.datasets import DatasetError
from clip_adapter.errors import DataError, ParameterError, UnknownNameError
from clip_adapter.pipeline import fit_runs
from clip_adapter.pipeline import reproduce_all as reproducing
from clip_adapter.pipeline.ablations import reproduce
from clip_adapter.pipeline.datasets import KnownDataset
from clip_adapter.pipeline.in_turn import Failure, datasets_tables
from clip_adapter.pipeline.plan import SweepError
from clip_adapter.runs import query

PutPhotos = Callable[..., Path]
FEW: dict[str, Any] = {"methods": ["zero-shot", "gda"], "shots": [1, 2], "seeds": [1, 2]}


def runs_of(*rows: tuple[str, str, int, float | None]) -> pa.Table:
    return pa.table(
        {
            "dataset": [row[0] for row in rows],
            "method": [row[1] for row in rows],
            "shots": [row[2] for row in rows],
            "accuracy": pa.array([row[3] for row in rows], pa.float64()),
            "model": ["glyphs"] * len(rows),
        }
    )


def test_a_table_by_hand() -> None:
    pets = runs_of(
        ("pets", "zero-shot", 0, 0.5), ("pets", "gda", 1, 0.6), ("pets", "gda", 1, 0.8),
        ("pets", "gda", 4, 0.9),
    )  # fmt: skip
    cars = runs_of(("cars", "zero-shot", 0, 0.1), ("cars", "gda", 1, 0.3), ("cars", "gda", 4, 0.5))
    food = runs_of(("food", "zero-shot", 0, 0.9))
    gone = Failure(dataset="dtd", model=None, error="is not there")
    one, four = datasets_tables(
        [(None, pets), (None, cars), (None, food)],
        [gone],
        column="method",
        value="accuracy",
        shots=[1, 4],
    )
    assert one.heading == "glyphs, 1 shot"
    assert one.columns == ("zero-shot", "gda")
    assert one.rows["pets"] == {"zero-shot": 0.5, "gda": pytest.approx(0.7)}
    assert one.rows["food"] == {"zero-shot": 0.9}
    # Over the datasets that every method has: a mean over others would compare nothing.
    assert one.whole == ["pets", "cars"]
    assert one.mean == {"zero-shot": pytest.approx(0.3), "gda": pytest.approx(0.5)}
    assert four.mean["gda"] == pytest.approx(0.7)
    assert one.failures == four.failures == (gone,)
    (largest,) = datasets_tables([(None, cars)], [], column="method", value="accuracy")
    assert largest.shots == 4
    with pytest.raises(ParameterError, match=r"no run has 8 shots.* expected one of 0, 1, 4"):
        datasets_tables([(None, cars)], [], column="method", value="accuracy", shots=[8])


@pytest.fixture(name="folders")
def _folders(photos: Path, tmp_path: Path, put_photos: PutPhotos) -> list[str]:
    for class_name, colour in (("cherry", "red"), ("leaf", "green")):
        put_photos(tmp_path / "plants", class_name, range(100, 130), colour=colour)
    return [f"imagefolder:{photos}", f"imagefolder:{tmp_path / 'plants'}"]


def test_what_is_missing_stops_nothing_and_nothing_is_trained_twice(
    folders: list[str],
    root: Path,
    tiny_model: str,
    other_tiny_model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = [tiny_model, other_tiny_model]
    named = ["imagefolder:/nowhere", *folders]
    done = train_all(named, models, root=root, **FEW)
    assert len(done.trainings) == 4
    assert [(each.dataset, each.model) for each in done.failures] == [(named[0], m) for m in models]
    assert all("there is no folder /nowhere" in each.error for each in done.failures)
    said = capsys.readouterr().err
    assert "4 of 4: imagefolder:" in said
    assert " left\n" in said
    tables = done.tables([1, 2])
    assert [(each.model, each.shots) for each in tables] == [(m, k) for m in models for k in (1, 2)]
    (row,) = query(
        root,
        "SELECT accuracy_mean FROM leaderboard WHERE dataset = 'plants' AND method = 'gda' "
        "AND shots = 2 AND model = $model",
        {"model": tiny_model},
    ).to_pylist()
    assert tables[1].rows["plants"]["gda"] == pytest.approx(row["accuracy_mean"])
    assert set(tables[1].rows) == {"photos", "plants"}
    assert [each.model for each in tables[0].failures] == [tiny_model]
    again = train_all(folders, models, root=root, **FEW)
    assert sum(each.runs.n_trained for _, each in again.trainings) == 0
    assert again.to_arrow().num_rows == 4 * 5
    assert again.failures == ()


def test_a_pair_that_fails_does_not_stop_the_others(
    folders: list[str], photos: Path, root: Path, tiny_model: str
) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"broken")
    done = train_all(folders, [tiny_model], root=root, **FEW)
    assert [each.dataset for each in done.failures] == folders[:1]
    (table,) = done.tables()
    assert (list(table.rows), table.shots) == (["plants"], 2)


DIVERGING: dict[str, Any] = {"clip-adapter": {"learning_rate": 1e15, "weight_decay": 1e15}}


def test_a_method_that_fails_leaves_the_others_in_the_table(
    folders: list[str], root: Path, tiny_model: str
) -> None:
    asked = {**FEW, "methods": ["zero-shot", "gda", "clip-adapter"], "settings": DIVERGING}
    done = train_all(folders, [tiny_model], root=root, **asked)
    assert [(each.dataset, each.is_partial) for each in done.failures] == [
        (name, True) for name in folders
    ]
    assert all("diverged" in each.error for each in done.failures)
    (table,) = done.tables()
    assert table.columns == ("zero-shot", "gda")
    assert table.whole == ["photos", "plants"]
    assert len(table.failures) == 2
    assert [each.runs.n_trained for _, each in done.trainings] == [5, 5]


def test_a_variant_that_fails_leaves_the_others_of_its_study(
    photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"imagefolder:{photos}"
    there = [known(name, is_present=True)]
    monkeypatch.setattr(reproducing, "known_datasets", lambda _: there)
    monkeypatch.setattr(fit_runs, "completed_run", fails_for_zero_shot(fit_runs.completed_run))
    asked: dict[str, Any] = {"shots": [1], "seeds": [1], "recipe": "fast", "root": root}
    done = reproduce_all("open-vocabulary", "all", tiny_model, **asked)
    (table,) = done.tables()
    assert "zero-shot" not in table.columns
    assert "clip-adapter" in table.columns
    assert [each.is_partial for each in done.failures] == [True]
    with pytest.raises(SweepError, match="no logits"):
        done.check()


def fails_for_zero_shot(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    def completed(sweep: Any, spec: Any, fitted: Any) -> Any:
        if spec.method.name == "zero-shot":
            message = "no logits"
            raise DataError(message)
        return evaluate(sweep, spec, fitted)

    return completed


def test_a_misspelled_name_ends_the_call_before_the_first_dataset(
    folders: list[str], root: Path, tiny_model: str
) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        train_all([*folders, "digit"], [tiny_model], root=root, **FEW)
    with pytest.raises(UnknownNameError, match="did you mean 'gda'"):
        train_all(folders, [tiny_model], root=root, **{**FEW, "methods": ["gdaa"]})
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        train_all(folders, [tiny_model], root=root, test_on=["digit"], **FEW)
    assert not root.exists()


def test_base_to_new_has_the_harmonic_mean_in_its_table(
    photos: Path, root: Path, tiny_model: str
) -> None:
    named = [f"imagefolder:{photos}"]
    asked = {**FEW, "methods": ["zero-shot", "tip-adapter"], "protocol": "base-to-new"}
    (table,) = train_all(named, [tiny_model], root=root, **asked).tables()
    (row,) = query(
        root, "SELECT harmonic_mean_mean AS mean FROM base_to_new_means WHERE shots = 2"
    ).to_pylist()
    assert table.rows["photos"]["tip-adapter"] == pytest.approx(row["mean"])


def test_the_parameters_of_several_requests_are_those_of_each() -> None:
    parameters = inspect.signature(train_all).parameters
    assert list(parameters)[:2] == ["datasets", "models"]
    of_one = inspect.signature(train).parameters
    assert {*parameters} - {"datasets", "models"} == {*of_one} - {"dataset", "model"}
    assert parameters["shots"] == of_one["shots"]
    assert "\n    shots: Labelled training images per class" in (train_all.__doc__ or "")
    with pytest.raises(UnknownNameError, match="did you mean 'shots'"):
        train_all(["digits"], shot=[1])


def known(name: str, *, is_present: bool | None) -> KnownDataset:
    step = "train it" if is_present else "download it"
    return KnownDataset(name=name, what="x", is_present=is_present, next_step=step)


def test_a_study_is_reproduced_on_all_that_is_present(
    folders: list[str], root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [known(name, is_present=True) for name in folders]
    others = [
        known("digits", is_present=True),
        known("imagenet-v2", is_present=True),
        known("dtd", is_present=False),
        known("features:NAME", is_present=None),
    ]
    monkeypatch.setattr(reproducing, "known_datasets", lambda _: [*there, *others])
    asked: dict[str, Any] = {"shots": [1], "seeds": [1], "recipe": "fast", "root": root}
    done = reproduce_all("output-activation", "all", tiny_model, **asked)
    assert (done.n_trained, done.n_reused) == (4, 0)
    (table,) = done.tables()
    assert set(table.rows) == {"photos", "plants"}
    assert [each.dataset for each in table.failures] == ["dtd"]
    done.check()
    assert reproduce_all("output-activation", "all", tiny_model, **asked).n_reused == 4
    monkeypatch.setattr(reproducing, "known_datasets", lambda _: others)
    with pytest.raises(DatasetError, match="no images of a known dataset are present: dtd: down"):
        reproduce_all("output-activation", "all", tiny_model, **asked)


def test_a_study_that_fails_on_a_dataset_is_said_at_the_end(
    folders: list[str], root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [known(name, is_present=True) for name in folders]
    monkeypatch.setattr(reproducing, "known_datasets", lambda _: there)
    asked: dict[str, Any] = {"shots": [2], "seeds": [1], "recipe": "fast", "root": root}
    done = reproduce_all("open-vocabulary", "all", tiny_model, **asked)
    assert "has 2 classes: expected 3 or more" in "".join(each.error for each in done.failures)
    with pytest.raises(SweepError, match="plants"):
        done.check()


def test_what_fails_stands_in_the_table_of_what_does_not(
    folders: list[str],
    photos: Path,
    root: Path,
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"broken")
    there = [known(name, is_present=True) for name in folders]
    monkeypatch.setattr(reproducing, "known_datasets", lambda _: there)
    asked: dict[str, Any] = {"shots": [1], "seeds": [1], "recipe": "fast", "root": root}
    done = reproduce_all("output-activation", "all", tiny_model, **asked)
    (table,) = done.tables()
    assert (list(table.rows), [each.dataset for each in table.failures]) == (
        ["plants"],
        folders[:1],
    )


def test_all_is_no_dataset_of_one_study() -> None:
    with pytest.raises(ParameterError, match="call reproduce_all"):
        reproduce("branch", "all")
    with pytest.raises(ParameterError, match="--name is given together with the dataset all"):
        reproduce("branch", "all", name="pets")
