from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import train_methods

from clip_adapter.datasets import DatasetError
from clip_adapter.methods import METHODS as METHODS_BY_NAME
from clip_adapter.methods import fit_method
from clip_adapter.pipeline import fit_runs, maintain
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.index import read_index, write_index
from clip_adapter.pipeline.plan import SweepError
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.train import TrainedRuns
from clip_adapter.runs import RunSettings, query
from feature_cache import IndexStore, list_files

METHODS = ("zero-shot", "linear-probe", "clip-adapter")
QUICK = {"clip-adapter": {"epochs": 2}}
DIVERGING = {"clip-adapter": {"learning_rate": 1e15, "weight_decay": 1e15}}
CHOSEN = """
SELECT method, shots, seed, residual_ratio, inverse_regularization, candidates::VARCHAR AS candidates
FROM runs WHERE index_fingerprint = '{}' ORDER BY ALL
"""

Train = Callable[..., TrainedRuns]


@pytest.fixture(name="train")
def _train() -> Train:
    return partial(train_methods, methods=METHODS, shots=[1, 2], seeds=[1, 2], settings=QUICK)


def ask(root: Path, question: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query(root, question).to_pylist()]


def test_every_method_shot_and_seed_is_on_record(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    assert train(encoded).n_trained == 9
    question = "SELECT method, shots, count(*) FROM runs GROUP BY ALL ORDER BY ALL"
    assert ask(root, question) == [
        ("clip-adapter", 1, 2),
        ("clip-adapter", 2, 2),
        ("linear-probe", 1, 2),
        ("linear-probe", 2, 2),
        ("zero-shot", 0, 1),
    ]


def test_a_run_has_metrics_and_a_prediction_for_every_test_image(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    train(encoded)
    rows = ask(
        root,
        """
        SELECT abs(value - share) < 1e-6, n = n_test
        FROM (SELECT run_id, avg(correct::INTEGER) AS share, count(*) AS n
              FROM predictions GROUP BY run_id)
        JOIN metrics USING (run_id) JOIN runs USING (run_id)
        WHERE name = 'accuracy' AND split = 'test'
        """,
    )
    assert rows == [(True, True)] * 9


def test_what_learns_is_judged_on_validation_and_calibrated_by_it(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    train(encoded)
    found = ask(
        root,
        """
        SELECT method, split, name, count(DISTINCT run_id)
        FROM metrics JOIN runs USING (run_id)
        WHERE (split = 'validation' AND name IN ('accuracy', 'nll'))
            OR name IN ('temperature', 'nll_calibrated', 'ece_calibrated')
        GROUP BY ALL ORDER BY ALL
        """,
    )
    named = [
        ("test", "ece_calibrated"),
        ("test", "nll_calibrated"),
        ("test", "temperature"),
        ("validation", "accuracy"),
        ("validation", "nll"),
    ]
    learning = ("clip-adapter", "linear-probe")
    assert found == [(method, *each, 4) for method in learning for each in named]


def test_the_chosen_candidate_is_the_one_that_is_judged_on_validation(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    train(encoded)
    found = ask(
        root,
        """
        SELECT value = list_max([one.validation_accuracy FOR one IN candidates])
        FROM runs JOIN metrics USING (run_id)
        WHERE split = 'validation' AND name = 'accuracy' AND candidates IS NOT NULL
        """,
    )
    assert found == [(True,)] * 8


def test_no_chosen_image_is_a_test_image(train: Train, encoded: EncodedDataset, root: Path) -> None:
    train(encoded)
    shared = "SELECT count(*) FROM splits SEMI JOIN predictions USING (image_sha256)"
    assert ask(root, shared) == [(0,)]
    assert ask(root, "SELECT role, count(*) FROM splits GROUP BY role ORDER BY role") == [
        ("train", 2 * 3 * (1 + 2)),
        ("validation", 2 * 3 * (1 + 2)),
    ]


def test_what_is_on_record_is_not_trained_again(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    train(encoded)
    files = sorted(root.rglob("*.parquet"))
    again = train(encoded)
    assert (again.n_trained, again.n_reused, again.sweep_id) == (0, 9, "")
    assert sorted(root.rglob("*.parquet")) == files


def test_many_small_files_of_runs_are_merged_after_training(
    train: Train, encoded: EncodedDataset, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "MANY_RUN_FILES", len(METHODS))
    train(encoded)
    assert len(list_files(root / "runs" / "runs")) == 1
    assert train(encoded).n_reused == 9


def test_only_what_is_new_in_a_wider_sweep_is_trained(
    train: Train, encoded: EncodedDataset
) -> None:
    train(encoded)
    wider = train(encoded, seeds=[1, 2, 3])
    assert (wider.n_trained, wider.n_reused) == (4, 9)


def test_retrain_trains_what_is_on_record(train: Train, encoded: EncodedDataset) -> None:
    train(encoded)
    assert train(encoded, retrain=True).n_trained == 9


def test_other_settings_are_trained_beside_those_on_record(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    train(encoded)
    changed = train(encoded, settings={"clip-adapter": {"epochs": 3}})
    assert (changed.n_trained, changed.n_reused) == (4, 5)
    lines = "SELECT count(*) FROM leaderboard WHERE method = 'clip-adapter' AND shots = 2"
    assert ask(root, lines) == [(2,)]


@pytest.mark.parametrize("method", METHODS_BY_NAME.values(), ids=METHODS_BY_NAME)
def test_every_number_that_can_be_set_has_a_column(method: Any) -> None:
    # What is a grid stands among the candidates; LP++ calls its epochs iterations; what selects has
    # a column of its own.
    numbers = {one.name for one in fields(method) if not isinstance(one.default, tuple)}
    grids = {"training", "text_residual_ratios", "iterations", "selection"}
    # The columns stay as they are: these stand in `hyperparameters` alone, which has everything.
    later = {"shrinkage", "text_length"}
    assert numbers - grids - later <= {one.name for one in fields(RunSettings)}


def test_a_blend_is_recorded_with_its_weights_and_said_in_the_log(
    encoded: EncodedDataset, root: Path
) -> None:
    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reporter, "log", lambda _, message: logged.append(message))
        train_methods(encoded, methods=["auto"], shots=[2], seeds=[1])
    ((found,),) = ask(root, "SELECT hyperparameters FROM runs")
    recorded = dict(found)
    assert {"share_zero_shot", "share_gda", "gda_alpha", "held_out_accuracy_gda"} <= set(recorded)
    assert [line for line in logged if line.startswith("auto at 2 shots, seed 1: a blend of ")]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("linear-probe", {"max_iterations": 50, "refinements": 1}),
        ("tip-adapter-f", {"initial_alpha": 2.0, "initial_beta": 1.0, "epochs": 2}),
        ("lp++", {"alpha_every": 3}),
    ],
)
def test_what_was_set_is_on_record(
    train: Train, encoded: EncodedDataset, root: Path, method: str, settings: dict[str, float]
) -> None:
    train(encoded, methods=[method], shots=[1], seeds=[1], settings={method: settings})
    assert ask(root, f"SELECT {', '.join(settings)} FROM runs") == [tuple(settings.values())]


def test_a_method_named_twice_is_trained_once(train: Train, encoded: EncodedDataset) -> None:
    assert train(encoded, methods=["zero-shot", "linear-probe", "zero-shot"]).n_trained == 5


def test_too_many_shots_train_nothing(train: Train, encoded: EncodedDataset, root: Path) -> None:
    with pytest.raises(DatasetError, match="30 shots"):
        train(encoded, shots=[1, 30])
    assert not (root / "runs").exists()


def test_a_dataset_without_test_images_trains_nothing(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    index = read_index(encoded.dataset)
    splits = tuple("val" if split == "test" else split for split in index.splits)
    with pytest.raises(DatasetError, match="no test image"):
        train(reindexed(encoded, root, splits=splits))
    assert not (root / "runs").exists()


def test_a_method_that_fails_is_recorded_as_failed_and_the_others_stand(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    with pytest.raises(SweepError, match=r"clip-adapter: .*diverged"):
        train(encoded, settings=DIVERGING)
    assert ask(root, "SELECT method, status, count(*) FROM runs GROUP BY ALL ORDER BY ALL") == [
        ("clip-adapter", "failed", 4),
        ("linear-probe", "completed", 4),
        ("zero-shot", "completed", 1),
    ]
    assert ask(
        root, "SELECT DISTINCT error LIKE '%learning rate%' FROM runs WHERE error <> ''"
    ) == [(True,)]


@pytest.mark.parametrize(("seeds", "fits"), [([1], 1), ([1, 2], 3)])
def test_a_run_that_fails_alone_is_not_trained_again_alone(
    train: Train,
    encoded: EncodedDataset,
    seeds: list[int],
    fits: int,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[int] = []

    def fit(method: Any, tasks: list[Any], **options: Any) -> Any:
        fitted.append(len(tasks))
        return fit_method(method, tasks, **options)

    monkeypatch.setattr(fit_runs, "fit_method", fit)
    with pytest.raises(SweepError, match="diverged"):
        train(encoded, methods=["clip-adapter"], shots=[1], seeds=seeds, settings=DIVERGING)
    assert len(fitted) == fits


def test_what_failed_is_tried_again(train: Train, encoded: EncodedDataset) -> None:
    for _ in range(2):
        with pytest.raises(SweepError):
            train(encoded, settings=DIVERGING)


def test_permuted_test_labels_change_no_choice(
    train: Train, encoded: EncodedDataset, root: Path
) -> None:
    """Whatever is selected, the test split has no say in it."""
    index = read_index(encoded.dataset)
    labels = index.labels.copy()
    test_rows = index.rows("test")
    labels[test_rows] = np.random.default_rng(0).permutation(labels[test_rows])
    permuted = reindexed(encoded, root, labels=labels)
    train(encoded)
    train(permuted)
    chosen, chosen_again = (
        ask(root, CHOSEN.format(each.dataset.index_fingerprint)) for each in (encoded, permuted)
    )
    assert len(chosen) == 9
    assert chosen == chosen_again
    accuracies = "SELECT count(DISTINCT value) > 1 FROM metrics WHERE name = 'accuracy'"
    assert ask(root, accuracies) == [(True,)]


def reindexed(encoded: EncodedDataset, root: Path, **columns: Any) -> EncodedDataset:
    """The same images and features under an index that says something else about them."""
    index = replace(read_index(encoded.dataset), **columns)
    write_index(IndexStore(root, encoded.dataset.name), index)
    return replace(encoded, dataset=replace(encoded.dataset, index_fingerprint=index.fingerprint))
