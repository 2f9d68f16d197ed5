"""Half of the classes are trained, the others added by name: honest, recorded, and not trained twice."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import REPORTER
from synthetic_datasets import SyntheticDatasets

from clip_adapter import encoders
from clip_adapter.datasets import DatasetError
from clip_adapter.errors import DataError
from clip_adapter.methods import Fitted, create_method, fit_method
from clip_adapter.methods.extended_classifier import EXTENSIBLE
from clip_adapter.pipeline import ablations
from clip_adapter.pipeline.ablations import Reproduction, Variant
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.load import ImageClassifier, load
from clip_adapter.pipeline.open_vocabulary import (
    base_splits,
    count_base_classes,
    evaluate_base_and_new,
)
from clip_adapter.pipeline.plan import RunSpec, SplitSpec, SweepError, plan_runs
from clip_adapter.pipeline.predict import predict
from clip_adapter.pipeline.train import TrainedRuns, train_runs
from clip_adapter.runs import BASE_TO_NEW, OPEN_VOCABULARY, query
from feature_cache import FeatureStore
from feature_cache.exchange import LabelledFeatures, import_features, texts_of_file

NAMES = ("ant", "bee", "cat", "dog", "emu")
N_BASE = 3
QUICK: dict[str, dict[str, Any]] = {
    "clip-adapter": {"epochs": 3},
    "tip-adapter-f": {"epochs": 3},
    "task-res": {"epochs": 3},
}
WITHOUT_TOWER = [name for name in EXTENSIBLE if name != "coop"]
METRICS = "SELECT split, name, value FROM metrics ORDER BY ALL"
Metrics = dict[tuple[str, str], float]


@pytest.fixture(name="encoded")
def _encoded(datasets: SyntheticDatasets) -> EncodedDataset:
    return datasets.make_dataset(NAMES, telling_prompts=True)


def plan(encoded: EncodedDataset, *methods: str) -> list[RunSpec]:
    index = encoded.dataset.index
    splits = SplitSpec(shots=[4], seeds=[1]).splits(index)
    return plan_runs(
        encoded,
        [create_method(name, QUICK.get(name)) for name in methods],
        base_splits(splits, index.labels, n_base=N_BASE),
        study=OPEN_VOCABULARY,
        n_base_classes=N_BASE,
    )


def train(encoded: EncodedDataset, *methods: str) -> TrainedRuns:
    return train_runs(
        plan(encoded, *methods),
        encoded=encoded,
        encoding=None,
        device="cpu",
        study=OPEN_VOCABULARY,
        executor=Executor(),
        reporter=REPORTER,
    )


def metrics_of(root: Path) -> Metrics:
    return {(row["split"], row["name"]): row["value"] for row in query(root, METRICS).to_pylist()}


def fit(encoded: EncodedDataset, method: str) -> Fitted:
    (spec,) = plan(encoded, method)
    task = DatasetFeatures(encoded).task(spec.split, spec.method, classes=spec.trained_classes)
    (fitted,) = fit_method(spec.method, [task])
    return fitted


def with_other_new_classes(datasets: SyntheticDatasets, encoded: EncodedDataset) -> EncodedDataset:
    """The images of new classes dealt out anew among these, in all splits, and under other names."""
    labels = encoded.dataset.index.labels.copy()
    new = np.flatnonzero(labels >= N_BASE)
    labels[new] = np.random.default_rng(0).permutation(labels[new])
    return datasets.relabel(encoded, labels, (*NAMES[:N_BASE], "gnu", "hen"))


def test_accuracies_and_their_harmonic_mean_by_hand() -> None:
    scores = np.array(
        [
            # base: two classes, new: two classes
            [5.0, 1.0, 0.0, 0.0],  # 0: right in any company
            [5.0, 1.0, 9.0, 0.0],  # 0: lost to a new class
            [1.0, 5.0, 0.0, 0.0],  # 1: right
            [5.0, 1.0, 0.0, 0.0],  # 1: wrong anyway
            [0.0, 0.0, 5.0, 1.0],  # 2: right
            [9.0, 0.0, 5.0, 1.0],  # 2: lost to a base class
            [9.0, 0.0, 1.0, 5.0],  # 3: lost to a base class
            [9.0, 0.0, 1.0, 5.0],  # 3: as well
        ]
    )
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    found = evaluate_base_and_new(scores, labels, n_base=2)
    assert found == {
        ("test-base", "accuracy"): 0.75,
        ("test-base-among-all", "accuracy"): 0.5,
        ("test-new-among-all", "accuracy"): 0.25,
        ("test-new", "accuracy"): 1.0,
        ("test", "harmonic_mean"): pytest.approx(2 * 0.5 * 0.25 / 0.75),
    }
    assert set(found) == set(BASE_TO_NEW.values())


@pytest.mark.parametrize(("n_classes", "n_base"), [(3, 2), (4, 2), (5, 3), (10, 5), (101, 51)])
def test_base_classes_are_the_first_half_rounded_up(
    encoded: EncodedDataset, n_classes: int, n_base: int
) -> None:
    names = tuple(map(str, range(n_classes)))
    assert count_base_classes(replace(encoded.dataset, class_names=names)) == n_base


def test_two_classes_are_too_few(encoded: EncodedDataset) -> None:
    with pytest.raises(DatasetError, match="has 2 classes: expected 3 or more"):
        count_base_classes(replace(encoded.dataset, class_names=("ant", "bee")))


def test_no_image_of_a_new_class_trains_or_validates(encoded: EncodedDataset) -> None:
    (spec,) = plan(encoded, "clip-adapter")
    labels = encoded.dataset.index.labels
    for rows in (spec.split.train_rows, spec.split.val_rows):
        assert sorted(labels[rows].tolist()) == sorted([*range(N_BASE)] * 4)


@pytest.mark.parametrize("method", WITHOUT_TOWER)
def test_other_new_classes_change_no_trained_weight(
    method: str, datasets: SyntheticDatasets, encoded: EncodedDataset
) -> None:
    before = fit(encoded, method)
    after = fit(with_other_new_classes(datasets, encoded), method)
    assert before.classifier.class_names == NAMES[:N_BASE]
    arrays = {
        name: value
        for name, value in vars(before.classifier).items()
        if isinstance(value, np.ndarray)
    }
    assert arrays
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, getattr(after.classifier, name))
    assert before.settings == after.settings
    assert before.candidates == after.candidates


@pytest.mark.parametrize("method", WITHOUT_TOWER)
def test_other_new_classes_change_no_number_of_base_classes_alone(
    method: str, datasets: SyntheticDatasets, encoded: EncodedDataset, root: Path
) -> None:
    train(encoded, method)
    before = metrics_of(root)
    train(with_other_new_classes(datasets, encoded), method)
    rows = query(root, METRICS.replace("metrics", "metrics JOIN runs USING (run_id)")).to_pylist()
    same = ("validation", "test-base")
    values = [row["value"] for row in rows if row["split"] in same and row["name"] == "accuracy"]
    assert len(values) == (2 if method == "zero-shot" else 4)
    expected = [
        value for key, value in sorted(before.items()) if key in {(s, "accuracy") for s in same}
    ]
    assert sorted(values) == sorted(expected * 2)


def test_a_run_is_a_study_of_its_own_protocol(encoded: EncodedDataset, root: Path) -> None:
    train(encoded, "zero-shot", "task-res")
    sql = (
        "SELECT method, protocol, study, n_train, n_test, class_names FROM study_runs ORDER BY ALL"
    )
    zero_shot, task_res = (
        {"method": method, "n_train": n_train}
        | {"protocol": "base-to-new", "study": OPEN_VOCABULARY}
        | {"n_test": 50, "class_names": list(NAMES)}
        for method, n_train in (("zero-shot", 0), ("task-res", 12))
    )
    found = sorted(query(root, sql).to_pylist(), key=lambda row: row["n_train"])
    assert found == [zero_shot, task_res]
    assert query(root, "FROM leaderboard").num_rows == 0
    assert query(root, "FROM splits WHERE label >= 3").num_rows == 0


def test_the_metrics_follow_from_the_recorded_predictions(
    encoded: EncodedDataset, root: Path
) -> None:
    """Predictions are those among all classes."""
    train(encoded, "task-res")
    right = {
        is_new: query(
            root,
            f"SELECT avg(correct::INTEGER) AS mean FROM predictions WHERE {is_new} (label >= 3)",
        ).to_pylist()[0]["mean"]
        for is_new in ("", "NOT")
    }
    found = metrics_of(root)
    assert found["test-new-among-all", "accuracy"] == pytest.approx(right[""])
    assert found["test-base-among-all", "accuracy"] == pytest.approx(right["NOT"])
    assert found["test-base", "accuracy"] >= found["test-base-among-all", "accuracy"]
    assert found["test-new", "accuracy"] >= found["test-new-among-all", "accuracy"]


def test_a_new_class_wins_on_its_images(encoded: EncodedDataset, root: Path) -> None:
    """The prompts of this dataset say what its images show, and the images were never trained on."""
    train(encoded, "task-res")
    assert metrics_of(root)["test-new-among-all", "accuracy"] > 0.9


def test_runs_of_base_classes_are_others_than_those_of_all(encoded: EncodedDataset) -> None:
    index = encoded.dataset.index
    splits = SplitSpec(shots=[4], seeds=[1]).splits(index)
    zero_shot = [create_method("zero-shot")]
    of_all, of_base, of_fewer = (
        plan_runs(encoded, zero_shot, splits, study=OPEN_VOCABULARY, n_base_classes=n)[0]
        for n in (None, 3, 2)
    )
    assert len({of_all.fingerprint, of_base.fingerprint, of_fewer.fingerprint}) == 3


def test_other_code_that_adds_classes_trains_these_runs_alone(
    encoded: EncodedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = encoded.dataset.index
    splits = SplitSpec(shots=[4], seeds=[1]).splits(index)

    def fingerprints() -> list[str]:
        return [
            plan_runs(encoded, [create_method("zero-shot")], splits, n_base_classes=n)[
                0
            ].fingerprint
            for n in (None, 3)
        ]

    before = fingerprints()
    monkeypatch.setattr("clip_adapter.pipeline.plan.digest_modules", lambda *_: "other code")
    after = fingerprints()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_method_without_prototypes_fails_with_the_reason(
    encoded: EncodedDataset, root: Path
) -> None:
    with pytest.raises(SweepError, match="gda has no class prototypes"):
        train(encoded, "gda")
    assert query(root, "SELECT error FROM runs WHERE status = 'failed'").num_rows == 1


@dataclass(frozen=True)
class Study:
    """The study of photos in three colours, run twice."""

    photos: Path
    root: Path
    first: Reproduction
    again: Reproduction

    def load(self, method: str) -> ImageClassifier:
        """The classifier of the first run of a method."""
        rows = self.first.to_arrow().to_pylist()
        run_id = next(row["run_id"] for row in rows if row["method"] == method)
        return load(f"run:{run_id}", root=self.root)


@pytest.fixture(scope="module", name="study")
def _study(
    put_photos: Callable[..., Path], tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    folder = tmp_path_factory.mktemp("open-vocabulary")
    for colour in ("red", "green", "blue"):
        put_photos(folder / "photos", colour, range(12))
    asked: dict[str, Any] = {"shots": [1, 2], "seeds": [1], "recipe": "fast"}
    short = {"coop": {"n_context": 4}}  # the tower of this model reads 16 tokens
    variants = tuple(
        Variant(label=name, method=name, settings=short.get(name, {})) for name in EXTENSIBLE
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "STUDIES", {OPEN_VOCABULARY: variants})
        first, again = (
            ablations.reproduce(
                OPEN_VOCABULARY,
                f"imagefolder:{folder / 'photos'}",
                tiny_model,
                root=folder / "store",
                **asked,
            )
            for _ in range(2)
        )
    return Study(photos=folder / "photos", root=folder / "store", first=first, again=again)


def test_the_study_trains_every_method_that_can_and_nothing_again(study: Study) -> None:
    table = study.first.to_arrow()
    assert study.first.names == EXTENSIBLE
    n_runs = 2 * len(EXTENSIBLE) - 1  # zero-shot knows no shots
    assert (study.first.n_trained, study.first.n_reused) == (n_runs, 0)
    assert (study.again.n_trained, study.again.n_reused) == (0, n_runs)
    assert study.again.to_arrow() == table
    assert {*BASE_TO_NEW} <= set(table.column_names)
    assert table["harmonic_mean_among_all"].null_count == 0
    assert "harmonic_mean_among_all" in study.first._repr_html_()


@pytest.mark.parametrize("method", ["zero-shot", "coop", "tip-adapter-f", "proker", "ape"])
def test_a_run_is_loaded_as_it_was_tested(study: Study, method: str) -> None:
    """Loading compares the predictions with the recorded ones."""
    assert len(study.load(method).class_names) == 3


def test_classes_are_added_to_a_loaded_classifier_by_name(study: Study) -> None:
    loaded = study.load("task-res")
    extended = loaded.with_classes("solar farm").with_classes(["pink", "grey"])
    assert extended.class_names == (*loaded.class_names, "solar farm", "pink", "grey")
    images = sorted(study.photos.rglob("*.jpg"))[:5]
    before, after = loaded.logits(images), extended.logits(images)
    np.testing.assert_array_equal(after[:, :3], before)
    described = loaded.saved.metadata
    assert described is not None
    text = loaded.encoder.encode_prompts(
        [template.replace("{}", "solar farm") for template in described.templates]
    )
    text = (text / np.linalg.norm(text, axis=1, keepdims=True)).mean(axis=0)
    image = loaded.embed(images)
    cosines = image @ text / np.linalg.norm(image, axis=1) / np.linalg.norm(text)
    expected = described.encoder.logit_scale * cosines
    np.testing.assert_allclose(after[:, 3], expected, rtol=1e-4)  # sums in another order
    with pytest.raises(DataError, match="there is a class 'pink' already"):
        extended.with_classes("Pink")


def test_a_prediction_knows_classes_by_name_and_encodes_their_prompts_once(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = study.first.to_arrow()["run_id"][0].as_py()
    asked: dict[str, Any] = {"root": study.root, "also": ["solar farm", "sea"], "top": 5}
    loads: list[str] = []
    load_encoder = encoders.load_encoder

    def noted(name: str, **options: Any) -> Any:
        loads.append(name)
        return load_encoder(name, **options)

    monkeypatch.setattr(encoders, "load_encoder", noted)
    store = FeatureStore(study.root, study.first.encoded.encoder)
    prompts = [
        template.replace("{}", name)
        for name in asked["also"]
        for template in study.first.encoded.dataset.templates
    ]
    without = predict(f"run:{run_id}", [study.photos], cache=False, **asked)
    assert (len(loads), store.missing_prompts(prompts)) == (1, prompts)
    first = predict(f"run:{run_id}", [study.photos], **asked)
    assert (len(loads), store.missing_prompts(prompts)) == (2, [])
    again = predict(f"run:{run_id}", [study.photos], **asked)
    assert len(loads) == 2
    table = first.to_arrow()
    assert again.to_arrow() == table
    assert without.to_arrow()["predicted"] == table["predicted"]
    assert set(table["predicted_5"].to_pylist()) <= {"red", "green", "blue", "solar farm", "sea"}
    ranks = [table[f"predicted{end}"].to_pylist() for end in ("", "_2", "_3", "_4", "_5")]
    assert all(len(set(names)) == 5 for names in zip(*ranks, strict=True))


def test_a_name_is_checked_before_the_encoder_is_loaded(study: Study) -> None:
    loaded = study.load("zero-shot")
    with pytest.raises(DataError, match="there is a class 'red' already"):
        loaded.with_classes(["RED"])
    assert "encoder" not in vars(loaded)


@pytest.fixture(name="four_classes")
def _four_classes(root: Path) -> str:
    """Imported features of four classes."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 12)
    text = random.normal(size=(4, 8)).astype(np.float32)
    noise = random.normal(size=(48, 8)).astype(np.float32)
    features = LabelledFeatures.from_arrays(
        source="x",
        features=text[labels] + 0.3 * noise,
        labels=labels,
        class_names=["ant", "bee", "cat", "dog"],
        splits=np.tile(np.repeat(["train", "val", "test"], 4), 4).tolist(),
        text_features=text,
        logit_scale=50.0,
    )
    import_features(root, features, name="four", label="theirs", texts=texts_of_file(features))
    return "features:four"


def test_imported_features_have_no_text_tower_to_learn_prompts_with(
    four_classes: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = ablations.reproduce(
        OPEN_VOCABULARY, four_classes, shots=[1], seeds=[1], recipe="fast", root=root
    )
    assert done.names == tuple(WITHOUT_TOWER)
    assert "coop is left out" in capsys.readouterr().err


def test_a_method_that_fails_does_not_stop_the_others(
    four_classes: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = tuple(Variant(label=name, method=name) for name in ("gda", "tip-adapter"))
    monkeypatch.setattr(ablations, "STUDIES", {OPEN_VOCABULARY: variants})
    with pytest.raises(SweepError, match="gda has no class prototypes"):
        ablations.reproduce(OPEN_VOCABULARY, four_classes, shots=[1], seeds=[1], root=root)
    sql = "SELECT method, status FROM runs ORDER BY method"
    assert [tuple(row.values()) for row in query(root, sql).to_pylist()] == [
        ("gda", "failed"),
        ("tip-adapter", "completed"),
    ]
