"""The field's protocols: what is trained, what is tested, and where the results are seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import REPORTER
from synthetic_datasets import SyntheticDatasets

from clip_adapter import train
from clip_adapter.datasets import DatasetError
from clip_adapter.errors import ParameterError, SettingsError
from clip_adapter.methods import METHODS, create_method, fit_method
from clip_adapter.methods.extended_classifier import EXTENSIBLE, NOT_EXTENSIBLE
from clip_adapter.pipeline.candidate import choose_candidate
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.load import load
from clip_adapter.pipeline.open_vocabulary import ReorderedClassifier
from clip_adapter.pipeline.open_vocabulary import tested_classifier as classifier_of_all
from clip_adapter.pipeline.plan import RunSpec, SplitSpec, plan_runs, with_targets
from clip_adapter.pipeline.provenance import digest_settings
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import PromoteRequest, TrainRequest
from clip_adapter.pipeline.targets import log_left_out
from clip_adapter.pipeline.train import promote, requested_methods, train_runs
from clip_adapter.pipeline.transfer import Target, match_classes
from clip_adapter.runs import RunStoreError, harmonic_mean, query
from feature_cache.exchange import LabelledFeatures, import_features, texts_of_file

NAMES = ("ant", "bee", "cat", "dog", "emu")
QUICK: dict[str, Any] = {"clip-adapter": {"epochs": 3}}


def test_every_built_in_method_can_or_cannot_know_a_class_by_name() -> None:
    assert {*EXTENSIBLE, *NOT_EXTENSIBLE} == set(METHODS)
    assert not {*EXTENSIBLE} & {*NOT_EXTENSIBLE}


@pytest.fixture(name="digits")
def _digits(root: Path) -> dict[str, Any]:
    """The handwritten digits with the built-in encoder, few shots."""
    return {"dataset": "digits", "model": "glyphs", "root": root, "seeds": [1], "settings": QUICK}


# Base to new


def test_base_to_new_tests_each_half_and_reaches_no_leaderboard(
    digits: dict[str, Any], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = train(**digits, shots=[2], protocol="base-to-new")
    assert "left out is linear-probe" in capsys.readouterr().err
    table = done.to_arrow().to_pylist()
    assert [row["method"] for row in table] == ["zero-shot", "clip-adapter"]
    assert "harmonic_mean" in done._repr_html_()
    for view in ("leaderboard", "current_runs", "study_runs", "confusion", "shift"):
        assert query(root, f"FROM {view}").num_rows == 0
    rows = query(root, "FROM base_to_new ORDER BY shots").to_pylist()
    assert [(row["method"], row["shots"], row["seed"]) for row in rows] == [
        ("zero-shot", 0, None),
        ("clip-adapter", 2, 1),
    ]
    for row, run in zip(rows, table, strict=True):
        base, new = run["base_accuracy"], run["new_accuracy"]
        assert (row["base"], row["new"]) == (base, new)
        assert row["harmonic_mean"] == pytest.approx(2 / (1 / base + 1 / new))
        assert run["harmonic_mean"] == pytest.approx(row["harmonic_mean"])
        among_all = (run["base_accuracy_among_all"], run["new_accuracy_among_all"])
        assert run["harmonic_mean_among_all"] == pytest.approx(harmonic_mean(*among_all))
    assert query(root, "SELECT max(label) AS last FROM splits").to_pylist() == [{"last": 4}]
    again = train(**digits, shots=[2], protocol="base-to-new")
    assert (again.runs.n_trained, again.runs.n_reused) == (0, 2)


def test_all_classes_and_half_of_them_are_different_runs(
    digits: dict[str, Any], root: Path
) -> None:
    asked = {**digits, "methods": ["tip-adapter"], "shots": [1], "settings": None}
    for protocol in ("all-classes", "base-to-new"):
        assert train(**asked, protocol=protocol).runs.n_trained == 1
    assert train(**asked).runs.n_trained == 0
    rows = query(root, "SELECT accuracy_mean, seeds FROM leaderboard").to_pylist()
    (own,) = query(
        root,
        "SELECT value FROM current_runs JOIN metrics USING (run_id) "
        "WHERE split = 'test' AND name = 'accuracy'",
    ).to_pylist()
    assert rows == [{"accuracy_mean": own["value"], "seeds": 1}]


def test_the_settings_of_a_run_of_all_classes_are_digested_as_ever(
    datasets: SyntheticDatasets,
) -> None:
    """Other fingerprints would train every recorded run again."""
    encoded = datasets.make_dataset(NAMES)
    splits = SplitSpec(shots=[4], seeds=[1]).splits(encoded.dataset.index)
    method = create_method("gda")
    (spec,) = plan_runs(encoded, [method], splits)
    dataset = encoded.dataset
    assert spec.settings_fingerprint == digest_settings(
        method, class_names=dataset.class_names, templates=dataset.templates, published=False
    )
    assert (spec.protocol, spec.trained_classes, spec.target) == ("all-classes", None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "base-to-new", "promote": True},
        {"protocol": "base-to-new", "study": "mine"},
        {"protocol": "base-to-new", "test_on": ["eurosat"]},
        {"protocol": "base-to-new", "budget": 50},
        {"test_on": ["eurosat"], "study": "mine"},
        {"test_on": []},
        {"budget": 50, "shots": [1]},
        {"budget": 50, "few_shot_indices": "x"},
        {"budget": 50, "short_classes": "skip"},
        {"budget": 50, "selection": "validation"},
        {"budget": 1},
        {"protocol": "base-to-old"},
    ],
)
def test_parameters_that_contradict_a_protocol_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        TrainRequest.of(**wrong)


def test_a_dataset_to_test_on_may_be_spelled_as_others_spell_it() -> None:
    assert TrainRequest.of(test_on=["imagenet_v2", "features:x"]).test_on == [
        "imagenet-v2",
        "features:x",
    ]


def test_base_to_new_makes_no_champion(digits: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="--promote is given together with --protocol"):
        promote(PromoteRequest.of(**digits, protocol="base-to-new"))


def test_methods_without_prototypes_alone_are_refused(digits: dict[str, Any], root: Path) -> None:
    with pytest.raises(SettingsError, match="gda, lp\\+\\+: they know a class by its images alone"):
        train(**{**digits, "settings": None}, methods=["gda", "lp++"], protocol="base-to-new")
    assert not root.exists()


def test_learned_prompts_are_left_out_of_base_to_new(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are not put around the new names, so that the result would be zero-shot's."""
    asked = TrainRequest.of(methods=["zero-shot", "coop"], protocol="base-to-new")
    assert [each.name for each in requested_methods(asked, reporter=Reporter())] == ["zero-shot"]
    assert "left out is coop: " in capsys.readouterr().err
    with pytest.raises(SettingsError, match="nothing is left to train without coop"):
        requested_methods(TrainRequest.of(methods=["coop"], protocol="base-to-new"))


# A budget of images


def plan_budget(
    encoded: EncodedDataset, budget: int, *methods: str, seed: int = 1
) -> list[RunSpec]:
    choices = SplitSpec(shots=[], seeds=[seed], budget=budget)
    return plan_runs(
        encoded,
        [create_method(name, QUICK.get(name)) for name in methods],
        choices.splits(encoded.dataset.index),
        image_choice=choices.image_choice,
    )


def record(encoded: EncodedDataset, specs: list[RunSpec]) -> None:
    train_runs(
        specs, encoded=encoded, encoding=None, device="cpu", executor=Executor(), reporter=REPORTER
    )


def seed_without_class(encoded: EncodedDataset, budget: int) -> int:
    """A seed whose draw has no image of a class in the middle, and has one of the last."""
    for seed in range(100):
        (spec,) = plan_budget(encoded, budget, "tip-adapter", seed=seed)
        drawn = spec.drawn_classes
        if drawn is not None and len(drawn) == len(NAMES) - 1 and NAMES.index("emu") in drawn:
            return seed
    raise AssertionError


def test_a_class_without_an_image_is_known_by_its_text(
    datasets: SyntheticDatasets, root: Path
) -> None:
    encoded = datasets.make_dataset(NAMES, telling_prompts=True)
    seed = seed_without_class(encoded, 8)
    (spec,) = plan_budget(encoded, 8, "clip-adapter", seed=seed)
    assert spec.image_choice == "budget:8"
    assert spec.drawn_classes is not None
    (absent,) = set(range(5)) - set(spec.drawn_classes)
    features = DatasetFeatures(encoded)
    (fitted,) = fit_method(
        spec.method, [features.task(spec.split, spec.method, classes=spec.trained_classes)]
    )
    tested = classifier_of_all(
        fitted.classifier, features, classes=spec.trained_classes, method="clip-adapter"
    )
    assert isinstance(tested, ReorderedClassifier)
    assert tested.class_names == NAMES
    images = features.image_features(features.test_rows())
    scores = tested.logits(images)
    assert scores.shape == (50, 5)
    np.testing.assert_array_equal(
        np.delete(scores, absent, axis=1), fitted.classifier.logits(images)
    )
    record(encoded, [spec])
    sql = "SELECT class_name, recall FROM per_class ORDER BY class_name"
    recall = {row["class_name"]: row["recall"] for row in query(root, sql).to_pylist()}
    assert recall[NAMES[absent]] > 0.9  # the prompts of this dataset say what its images show
    (run,) = query(root, "SELECT run_id, n_train, n_validation, image_choice FROM runs").to_pylist()
    assert (run["n_train"], run["n_validation"], run["image_choice"]) == (8, 0, "budget:8")
    assert load(f"run:{run['run_id']}", root=root).class_names == NAMES


def test_zero_shot_needs_no_image_of_a_budget(datasets: SyntheticDatasets, root: Path) -> None:
    encoded = datasets.make_dataset(NAMES)
    own = plan_runs(
        encoded,
        [create_method("zero-shot")],
        SplitSpec(shots=[1], seeds=[1]).splits(encoded.dataset.index),
    )
    drawn = plan_budget(encoded, 8, "zero-shot", seed=seed_without_class(encoded, 8))
    assert drawn[0].fingerprint == own[0].fingerprint
    record(encoded, drawn)
    assert query(root, "SELECT image_choice FROM runs").to_pylist() == [{"image_choice": "own"}]


def test_budgets_are_neither_each_other_nor_shots(datasets: SyntheticDatasets, root: Path) -> None:
    encoded = datasets.make_dataset(NAMES)
    index = encoded.dataset.index
    shots = plan_runs(
        encoded,
        [create_method("gda")],
        SplitSpec(shots=[4], seeds=[1], validation=False).splits(index),
    )
    budgets = [spec for n in (20, 22) for spec in plan_budget(encoded, n, "gda")]
    assert {spec.shots for spec in (*shots, *budgets)} == {4}
    specs = [*shots, *budgets]
    assert len({spec.fingerprint for spec in specs}) == 3
    record(encoded, specs)
    sql = "SELECT image_choice, seeds FROM leaderboard ORDER BY image_choice"
    assert [tuple(row.values()) for row in query(root, sql).to_pylist()] == [
        ("budget:20", 1),
        ("budget:22", 1),
        ("own", 1),
    ]


def test_methods_that_need_every_class_are_left_out_and_said(
    digits: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the images of seeds 1 and 3 one class is missing."""
    asked = {**digits, "seeds": [1, 2, 3], "budget": 20, "settings": None}
    done = train(**asked, methods=["zero-shot", "gda", "tip-adapter"])
    said = capsys.readouterr().err
    assert "left out is gda: it knows a class by its images alone" in said
    assert "of seed 1, 3 have none of some class" in said
    assert "these are known by name alone" in said
    assert [row["method"] for row in done.to_arrow().to_pylist()] == [
        "zero-shot",
        *["tip-adapter"] * 3,
    ]
    with pytest.raises(SettingsError, match="nothing is left to train without gda"):
        train(**asked, methods=["gda"])
    with pytest.raises(RunStoreError, match="cannot be saved as a champion"):
        train(**asked, methods=["tip-adapter"], promote=True)


# Other datasets


@pytest.mark.parametrize(
    ("known", "wanted", "expected"),
    [
        (["Great White-Shark", "tabby"], ["great_white shark"], (0,)),
        (["Forêt", "b"], ["Fore\u0302t"], (0,)),
        (["a", "b", "c"], ["c", "a"], (2, 0)),
        (["a", "b"], ["a", "x"], None),
        (["a", "b"], ["x"], None),
        (["missile", "b", "missile"], ["missile", "missile"], (0, 2)),
        (["missile", "b", "missile"], ["missile"], None),
        (["a", "b"], ["a", "A"], None),
        (["+", "-"], ["-", "+"], (1, 0)),
        (["a"], [], None),
    ],
)
def test_classes_are_matched_by_their_names(
    known: list[str], wanted: list[str], expected: tuple[int, ...] | None
) -> None:
    assert match_classes(known, wanted) == expected


def gallery(root: Path, names: tuple[str, ...], **options: Any) -> EncodedDataset:
    """A dataset of another name in the store, of features made by the same encoder."""
    other = SyntheticDatasets(root).make_dataset(names, telling_prompts=True, **options)
    index = other.dataset.index
    return replace(other, dataset=replace(other.dataset, name="other").with_index(index))


def target_of(source: EncodedDataset, other: EncodedDataset) -> Target:
    columns = match_classes(source.dataset.class_names, other.dataset.class_names)
    return Target(encoded=other, columns=columns)


def plan_shift(source: EncodedDataset, target: Target, *methods: str) -> list[RunSpec]:
    splits = SplitSpec(shots=[4], seeds=[1]).splits(source.dataset.index)
    made = [create_method(name, QUICK.get(name)) for name in methods]
    return with_targets(plan_runs(source, made, splits), [target])


def test_a_domain_shift_is_told_apart_from_the_matched_classes_alone(
    datasets: SyntheticDatasets, root: Path
) -> None:
    source = datasets.make_dataset(NAMES, telling_prompts=True)
    target = target_of(source, gallery(root, ("Emu", "bee")))
    assert (target.columns, target.protocol) == ((4, 1), "domain-shift")
    specs = plan_shift(source, target, "gda", "tip-adapter")
    assert [spec.protocol for spec in specs] == ["all-classes", "domain-shift"] * 2
    record(source, specs)
    features = DatasetFeatures(source)
    (fitted,) = fit_method(specs[0].method, [features.task(specs[0].split, specs[0].method)])
    theirs = DatasetFeatures(target.encoded)
    rows = theirs.test_rows()
    scores = fitted.classifier.logits(theirs.image_features(rows))[:, [4, 1]]
    accuracy = float((scores.argmax(axis=1) == theirs.index.labels[rows]).mean())
    (shift,) = query(root, "FROM shift WHERE method = 'gda'").to_pylist()
    assert (shift["source"], shift["target"]) == ("gallery", "other")
    assert shift["accuracy_target"] == pytest.approx(accuracy)
    (own,) = query(root, "SELECT accuracy_mean FROM leaderboard WHERE method = 'gda'").to_pylist()
    assert shift["accuracy_source"] == own["accuracy_mean"]
    sql = "SELECT class_names, tested_on, n_test FROM runs WHERE protocol = 'domain-shift' LIMIT 1"
    assert query(root, sql).to_pylist() == [
        {
            "class_names": ["Emu", "bee"],
            "tested_on": {
                "dataset": "other",
                "class_subset": None,
                "index_fingerprint": target.encoded.dataset.index_fingerprint,
            },
            "n_test": 20,
        }
    ]


def test_other_code_of_transfer_makes_other_runs_on_other_datasets_alone(
    datasets: SyntheticDatasets, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = datasets.make_dataset(NAMES)
    target = target_of(source, gallery(root, ("bee",)))
    before = plan_shift(source, target, "gda")
    monkeypatch.setattr("clip_adapter.pipeline.plan.digest_modules", lambda *_: "other code")
    after = plan_shift(source, target, "gda")
    same = [one.fingerprint == other.fingerprint for one, other in zip(before, after, strict=True)]
    assert same == [True, False]


@pytest.mark.parametrize(
    ("name", "is_tested"), [("coop", False), ("gda", False), ("zero-shot", True)]
)
def test_learned_prompts_are_tested_on_a_domain_shift_alone(
    datasets: SyntheticDatasets,
    root: Path,
    name: str,
    *,
    is_tested: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shifted = target_of(datasets.make_dataset(NAMES), gallery(root, ("bee",)))
    others = replace(shifted, columns=None)
    method = create_method(name)
    assert shifted.can_test(method)
    assert others.can_test(method) == is_tested
    log_left_out([method], [shifted, others], reporter=Reporter())
    assert (f"{name} is not tested on other" in capsys.readouterr().err) != is_tested


def test_a_budget_without_a_class_is_tested_on_another_dataset(
    datasets: SyntheticDatasets, root: Path
) -> None:
    """Also on the class without an image, which the target has."""
    source = datasets.make_dataset(NAMES, telling_prompts=True)
    seed = seed_without_class(source, 8)
    specs = plan_budget(source, 8, "tip-adapter", seed=seed)
    assert specs[0].drawn_classes is not None
    (absent,) = set(range(5)) - set(specs[0].drawn_classes)
    names = (NAMES[absent], "emu")
    shifted = target_of(source, gallery(root, names))
    for target in (shifted, replace(shifted, columns=None)):
        record(source, with_targets(specs, [target]))
        sql = "SELECT protocol, accuracy_target, image_choice FROM shift"
        (row,) = query(root, sql).to_pylist()
        assert (row["protocol"], row["image_choice"]) == (target.protocol, "budget:8")
        assert row["accuracy_target"] > 0.9


def test_other_classes_are_known_by_their_text(datasets: SyntheticDatasets, root: Path) -> None:
    source = datasets.make_dataset(NAMES, telling_prompts=True)
    target = target_of(source, gallery(root, ("bee", "gnu", "hen")))
    assert (target.columns, target.protocol) == (None, "cross-dataset")
    specs = plan_shift(source, target, "gda", "clip-adapter")
    assert [(spec.method.name, spec.protocol) for spec in specs] == [
        ("gda", "all-classes"),
        ("clip-adapter", "all-classes"),
        ("clip-adapter", "cross-dataset"),
    ]
    record(source, specs)
    (shift,) = query(root, "FROM shift").to_pylist()
    assert (shift["method"], shift["protocol"]) == ("clip-adapter", "cross-dataset")
    assert shift["accuracy_target"] > 0.9  # whose prompts say what its images show
    run = query(root, "SELECT run_id FROM runs WHERE protocol = 'cross-dataset'").to_pylist()
    with pytest.raises(RunStoreError, match="is the test of a classifier of gallery on other"):
        load(f"run:{run[0]['run_id']}", root=root)


def test_a_training_that_is_tested_twice_is_fitted_once(
    datasets: SyntheticDatasets, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = datasets.make_dataset(NAMES, telling_prompts=True)
    target = target_of(source, gallery(root, ("emu", "bee")))
    fitted: list[int] = []

    def counted(method: Any, tasks: Any, **options: Any) -> Any:
        fitted.append(len(tasks))
        return fit_method(method, tasks, **options)

    monkeypatch.setattr("clip_adapter.pipeline.fit_runs.fit_method", counted)
    record(source, plan_shift(source, target, "gda"))
    assert fitted == [1]
    record(source, plan_shift(source, target, "gda"))
    assert fitted == [1]


def test_other_labels_of_the_target_change_no_choice(
    datasets: SyntheticDatasets, root: Path
) -> None:
    source = datasets.make_dataset(NAMES, telling_prompts=True)
    other = gallery(root, ("emu", "bee"))
    index = other.dataset.index
    swapped = replace(index, labels=1 - index.labels)
    dataset = replace(other.dataset, index_fingerprint=swapped.fingerprint).with_index(swapped)
    for target in (other, replace(other, dataset=dataset)):
        record(source, plan_shift(source, target_of(source, target), "tip-adapter"))
    sql = "SELECT protocol, alpha, beta, candidates, settings_fingerprint FROM runs"
    runs = query(root, sql).to_pylist()
    first, again = (row for row in runs if row["protocol"] == "domain-shift")
    assert first == again
    values = query(
        root,
        "SELECT value FROM runs JOIN metrics USING (run_id) WHERE protocol = 'domain-shift' "
        "AND name = 'accuracy' ORDER BY value",
    ).to_pylist()
    assert sum(row["value"] for row in values) == pytest.approx(1)


def test_a_candidate_for_promotion_is_none_of_the_shift(
    datasets: SyntheticDatasets, root: Path
) -> None:
    source = datasets.make_dataset(NAMES, telling_prompts=True)
    specs = plan_shift(source, target_of(source, gallery(root, ("emu", "bee"))), "gda")
    record(source, specs)
    planned = [spec for spec in specs if spec.target is None]
    spec, run_id = choose_candidate(root, planned, dataset="gallery")
    protocol = query(root, "SELECT protocol FROM runs WHERE run_id = $id", {"id": run_id})
    assert (spec.protocol, protocol.to_pylist()) == ("all-classes", [{"protocol": "all-classes"}])


def test_photos_of_a_target_are_encoded_of_the_test_split_alone(
    photos: Path, tmp_path: Path, put_photos: Any, root: Path, tiny_model: str
) -> None:
    for split, numbers in (("train", range(200, 230)), ("test", range(300, 307))):
        for colour in ("red", "green"):
            put_photos(tmp_path / "shifted" / split, colour, numbers)
    done = train(
        f"imagefolder:{photos}",
        tiny_model,
        methods=["gda"],
        shots=[1],
        seeds=[1],
        test_on=[f"imagefolder:{tmp_path / 'shifted'}"],
        root=root,
    )
    assert done.tested_on == ("shifted",)
    sql = "SELECT dataset, n_encoded FROM extractions ORDER BY dataset"
    assert [tuple(row.values()) for row in query(root, sql).to_pylist()] == [
        ("photos", 90),
        ("shifted", 14),
    ]
    rows = done.to_arrow().to_pylist()
    assert [row["tested_on"] for row in rows] == ["photos", "shifted"]
    assert query(
        root, "SELECT count(*) AS n FROM images WHERE dataset = 'shifted'"
    ).to_pylist() == [{"n": 74}]


def test_what_cannot_be_tested_on_is_refused_before_the_training(
    digits: dict[str, Any], photos: Path, root: Path
) -> None:
    with pytest.raises(DatasetError, match="is the dataset that is trained on"):
        train(**digits, test_on=["digits"])
    with pytest.raises(DatasetError, match="there is no folder"):
        train(**digits, test_on=["imagefolder:/nowhere"])
    assert not root.exists()
    with pytest.raises(DatasetError, match="two of the datasets are called 'photos'"):
        train(**digits, test_on=[f"imagefolder:{photos}", f"imagefolder:{photos}/../photos"])
    assert query(root, "FROM runs").num_rows == 0


def test_features_of_another_encoder_are_refused(photos: Path, root: Path, tiny_model: str) -> None:
    names = np.array(["red", "green"])
    features = LabelledFeatures.from_arrays(
        source="x",
        features=np.eye(20, 8, dtype=np.float32) + 1,
        labels=np.arange(20) % 2,
        class_names=names.tolist(),
        splits=["train", "test"] * 10,
        text_features=np.eye(2, 8, dtype=np.float32),
        logit_scale=50.0,
    )
    import_features(root, features, name="theirs", label="another", texts=texts_of_file(features))
    asked: dict[str, Any] = {"methods": ["zero-shot"], "shots": [1], "root": root}
    asked["test_on"] = ["features:theirs"]
    with pytest.raises(DatasetError, match="made by another encoder than those of photos"):
        train(f"imagefolder:{photos}", tiny_model, **asked)
