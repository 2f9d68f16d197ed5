"""The saved questions, asked of a store that the product made; each answer is computed once more without SQL."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter.pipeline.train import train
from clip_adapter.runs import (
    ExtractionRecord,
    PromotionStore,
    RequestStore,
    RunDatabase,
    RunResult,
    RunStoreError,
    adjust_p_values,
    compare_methods,
    connect,
    current_index,
    read_runs,
    record_extraction,
)
from clip_adapter.runs.saved_questions import saved_questions
from clip_adapter.runs.schemas import CURVES, METRICS, PREDICTIONS, SPLITS
from feature_cache import FeatureStore, IndexStore, list_files, read_tables, stores

Rows = list[dict[str, Any]]
Ask = Callable[..., Rows]
SETTINGS = {"clip-adapter": {"recipe": "fast"}}
N_COPIED = 30
"""Images of each class that the second dataset shares with the digits."""
N_EXTRACTED, SECONDS = 1000, 8.0
"""An extraction that tells the encoder's rate: those of the tests are too short for that."""


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on digits with a champion, one of them asked for again, and a second dataset."""
    place = tmp_path_factory.mktemp("saved")
    root = place / "store"
    train(
        "digits",
        root=root,
        methods=["zero-shot", "gda", "clip-adapter"],
        shots=[1, 4],
        seeds=[1, 2, 3],
        settings=SETTINGS,
        promote=True,
    )
    train("digits", root=root, methods=["gda"], budget=40, seeds=[1])
    train("digits", root=root, methods=["gda"], shots=[4], seeds=[1, 2, 3, 4])
    for folder in (root / "images" / "digits").iterdir():
        (place / "numerals" / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:N_COPIED]:
            shutil.copy(image, place / "numerals" / folder.name / image.name)
    second = f"imagefolder:{place / 'numerals'}"
    train(second, root=root, model="glyphs", methods=["zero-shot", "gda"], shots=[1], seeds=[1])
    with connect(root) as database:
        measured = database.query("FROM extractions WHERE n_encoded > 0").to_pylist()[0]
    measured |= {"extraction_id": f"{1:032x}", "n_encoded": N_EXTRACTED, "seconds": SECONDS}
    record_extraction(root, ExtractionRecord(**measured | {"n_reused": 0}))
    return root


@pytest.fixture(scope="module", name="database")
def _database(store: Path) -> Iterator[RunDatabase]:
    with connect(store) as database:
        yield database


@pytest.fixture(name="ask")
def _ask(database: RunDatabase) -> Ask:
    """Ask a saved question; keywords are its parameters."""

    def ask(name: str, **given: Any) -> Rows:
        question = saved_questions()[name]
        parameters = question.values(given)
        return database.query(question.statement, parameters or None).to_pylist()

    return ask


@pytest.fixture(scope="module", name="results")
def _results(database: RunDatabase) -> dict[str, RunResult]:
    """The current runs with their metrics, by id."""
    return {result.run.run_id: result for result in read_runs(database)}


@pytest.fixture(scope="module", name="predictions")
def _predictions(store: Path) -> dict[tuple[str, str], Rows]:
    """Predictions as they are stored, by run and split."""
    found = defaultdict(list)
    table = read_tables(store / "runs/predictions", kind="predictions", schema=PREDICTIONS)
    for row in table.to_pylist():
        found[row["run_id"], row["split"]].append(row)
    return {key: sorted(rows, key=lambda row: row["position"]) for key, rows in found.items()}


def indexed(store: Path, dataset: str) -> dict[bytes, str]:
    """The split of every image of a dataset, by its digest."""
    fingerprint = current_index(store, dataset)
    assert fingerprint is not None
    rows = IndexStore(store, dataset).read(fingerprint).to_pylist()
    return {row["image_sha256"]: row["split"] for row in rows}


def of(results: dict[str, RunResult], method: str, dataset: str = "digits") -> list[RunResult]:
    runs = [each for each in results.values() if each.run.dataset == dataset]
    return [each for each in runs if each.run.method == method]


def accuracies(results: list[RunResult], shots: int) -> list[float]:
    own = [each for each in results if each.run.image_choice == "own"]
    return [each.metrics["test", "accuracy"] for each in own if each.run.shots == shots]


def test_the_ratio_that_was_best_by_shots(ask: Ask, results: dict[str, RunResult]) -> None:
    rows = ask("best-ratio", dataset="digits")
    assert [row["shots"] for row in rows] == [1, 4]
    runs = of(results, "clip-adapter")
    for row in rows:
        ratios = [
            each.run.settings.residual_ratio for each in runs if each.run.shots == row["shots"]
        ]
        assert row["residual_ratio_median"] == np.median(np.array(ratios, dtype=float))
        assert row["accuracy_mean"] == pytest.approx(np.mean(accuracies(runs, row["shots"])))


def test_every_ratio_that_was_tried(ask: Ask, results: dict[str, RunResult]) -> None:
    scores: dict[tuple[int, float], list[float]] = defaultdict(list)
    chosen: Counter[tuple[int, float | None]] = Counter()
    for each in of(results, "clip-adapter"):
        run = each.run
        best: dict[float, float] = {}
        for candidate in run.tried or ():
            ratio = candidate.settings["residual_ratio"]
            best[ratio] = max(best.get(ratio, 0.0), candidate.validation_accuracy)
        for ratio, accuracy in best.items():
            scores[run.shots, ratio].append(accuracy)
        chosen[run.shots, run.settings.residual_ratio] += 1
    rows = ask("tried-ratios", dataset="digits")
    found = {(row["shots"], row["residual_ratio"]): row for row in rows}
    assert list(found) == sorted(scores)
    assert len(rows) == len(found) > 2
    for key, row in found.items():
        assert row["validation_accuracy_mean"] == pytest.approx(np.mean(scores[key]))
        assert (row["runs"], row["n_chosen"]) == (len(scores[key]), chosen[key])
    assert ask("tried-ratios", shots=4) == [row for row in rows if row["shots"] == 4]


def test_what_zero_shot_gets_right_and_an_adapter_wrong(
    ask: Ask, results: dict[str, RunResult], predictions: dict[tuple[str, str], Rows]
) -> None:
    (zero_shot,) = of(results, "zero-shot")
    right = {
        row["image_sha256"]: row["confidence"]
        for row in predictions[zero_shot.run.run_id, "test"]
        if row["label"] == row["predicted"]
    }
    expected = {
        (row["image_sha256"].hex(), each.run.shots, each.run.seed, row["confidence"], confidence)
        for each in of(results, "clip-adapter")
        for row in predictions[each.run.run_id, "test"]
        if row["label"] != row["predicted"]
        and (confidence := right.get(row["image_sha256"])) is not None
    }
    rows = ask("zero-shot-wins", dataset="digits", top=100_000)
    columns = ("image_sha256", "shots", "seed", "confidence", "confidence_zero_shot")
    assert {tuple(row[name] for name in columns) for row in rows} == expected
    assert len(rows) == len(expected) > 10
    assert all(row["path"].startswith(f"{row['class_name']}/") for row in rows)
    assert ask("zero-shot-wins", dataset="digits") == rows[:20]
    of_one_seed = [row for row in rows if row["seed"] == 2]
    assert ask("zero-shot-wins", dataset="digits", seed=2, top=3) == of_one_seed[:3]


def test_accuracy_per_second(ask: Ask, results: dict[str, RunResult]) -> None:
    rows = {
        (row["method"], row["shots"]): row for row in ask("accuracy-per-second", dataset="digits")
    }
    for method, shots in (("clip-adapter", 1), ("clip-adapter", 4), ("gda", 4)):
        runs = [each for each in of(results, method) if each.run.image_choice == "own"]
        seconds = np.mean([each.run.seconds_train for each in runs if each.run.shots == shots])
        expected = np.mean(accuracies(runs, shots)) / seconds
        if (method, shots) != ("gda", 4):  # which also has a row for its budget of images
            assert rows[method, shots]["accuracy_per_second"] == pytest.approx(expected)
        else:
            assert any(
                row["accuracy_per_second"] == pytest.approx(expected)
                for row in ask("accuracy-per-second", dataset="digits")
            )


@pytest.mark.parametrize("against", ["zero-shot", "gda"])
def test_a_pair_differs_as_compare_says(
    ask: Ask, store: Path, results: dict[str, RunResult], against: str
) -> None:
    settings = of(results, against)[0].run.settings_fingerprint
    rows = ask("is-better", method_a="clip-adapter", method_b=against, dataset="digits")
    assert [row["shots"] for row in rows] == [1, 4]
    methods = ("clip-adapter", f"{against}@{settings}/own")
    pairs = [
        compare_methods(store, methods, dataset="digits", shots=shots).paired for shots in (1, 4)
    ]
    for row, paired in zip(rows, adjust_p_values(pairs), strict=True):
        for name in (
            "n_images",
            "accuracy_a",
            "accuracy_b",
            "difference",
            "low",
            "high",
            "p_value",
            "adjusted_p_value",
            "verdict",
        ):
            assert row[name] == getattr(paired, name)
        assert row["n_seeds"] == 3
    (alone,) = ask("is-better", method_b=against, dataset="digits", shots=4)
    assert alone["adjusted_p_value"] == alone["p_value"] == rows[1]["p_value"]


def test_every_pair_of_the_view_is_as_compare_says(database: RunDatabase, store: Path) -> None:
    rows = database.query("FROM paired").to_pylist()
    columns = {f"{row['method_a']}/{row['method_b']}" for row in rows}
    assert {"gda/zero-shot", "zero-shot/gda", "gda/clip-adapter"} <= columns
    compared: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        sides = (
            f"{row[f'method_{side}']}@{row[f'settings_fingerprint_{side}']}/{row[f'image_choice_{side}']}"
            for side in "ab"
        )
        found = compare_methods(store, (*sides,), dataset=row["dataset"], shots=row["shots"])
        assert tuple(row["seeds"]) == found.seeds
        for name in ("n_images", "low", "high", "p_value", "verdict", "wins", "losses"):
            assert row[name] == getattr(found.paired, name)
        assert row["seed_differences"] == list(found.paired.seed_differences)
        assert row["same_training_images"] == found.paired.same_training_images
        compared[row["method_a"], row["method_b"], row["shots"], row["dataset"]] = row
    for (a, b, shots, dataset), row in compared.items():
        assert compared[b, a, shots, dataset]["difference"] == -row["difference"]


def test_the_nearest_images_are_those_of_numpy(ask: Ask, store: Path) -> None:
    (encoder,) = [each.encoder for each in stores(store)]
    digests = sorted(indexed(store, "digits"))
    features = FeatureStore(store, encoder).read_images(digests).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features[7]
    cosines[7] = -2
    rows = ask("nearest-images", image=digests[7].hex(), encoder=encoder, top=5)
    best = np.argsort(-cosines)[:5]
    assert [row["image_sha256"] for row in rows] == [digests[each].hex() for each in best]
    assert [row["cosine"] for row in rows] == pytest.approx(cosines[best], abs=1e-5)  # float32
    assert all(any(path.startswith("digits/") for path in row["paths"]) for row in rows)
    unknown = "ab" * 32
    with pytest.raises(RunStoreError, match=f"no image of the digest {unknown} has a feature"):
        ask("nearest-images", image=unknown, encoder=encoder)


def test_labels_that_no_run_gives_are_doubtful(
    ask: Ask, results: dict[str, RunResult], predictions: dict[tuple[str, str], Rows]
) -> None:
    found: dict[tuple[str, bytes], list[dict[str, Any]]] = defaultdict(list)
    for (run_id, split), images in predictions.items():
        if run_id in results and results[run_id].run.dataset == "digits":
            for row in images:
                found[split, row["image_sha256"]].append(row)
    expected = {
        (split, digest.hex()): np.mean([row["label_probability"] for row in rows])
        for (split, digest), rows in found.items()
        if all(row["label"] != row["predicted"] for row in rows)
    }
    rows = ask("doubtful-labels", dataset="digits", top=10_000)
    assert {(row["split"], row["image_sha256"]) for row in rows} == set(expected)
    assert {row["split"] for row in rows} == {"test", "validation", "held-out"}
    probabilities = [row["label_probability"] for row in rows]
    assert probabilities == sorted(probabilities)
    for row in rows:
        assert row["label_probability"] == pytest.approx(
            expected[row["split"], row["image_sha256"]]
        )


def test_confidence_and_accuracy_in_ten_bins(
    ask: Ask, results: dict[str, RunResult], predictions: dict[tuple[str, str], Rows]
) -> None:
    runs = [each for each in of(results, "clip-adapter") if each.run.shots == 4]
    images = [row for each in runs for row in predictions[each.run.run_id, "test"]]
    rows = ask("calibration", dataset="digits", shots=4)
    before = {row["bin"]: row for row in rows if row["temperature"] == "before"}
    bins = Counter(min(9, int(10 * row["confidence"])) for row in images)
    assert {number: row["n"] for number, row in before.items()} == bins
    for number, row in before.items():
        inside = [each for each in images if min(9, int(10 * each["confidence"])) == number]
        assert row["confidence"] == pytest.approx(np.mean([each["confidence"] for each in inside]))
        right = [each["label"] == each["predicted"] for each in inside]
        assert row["accuracy"] == pytest.approx(np.mean(right))
    after = [row for row in rows if row["temperature"] == "after"]
    assert sum(row["n"] for row in after) == len(images)
    # A temperature changes no prediction: the accuracy of all bins is the same before and after.
    hits = [sum(row["n"] * row["accuracy"] for row in each) for each in (before.values(), after)]
    assert hits[0] == pytest.approx(hits[1])
    gaps = [
        sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in each) / len(images)
        for each in (before.values(), after)
    ]
    assert gaps[1] < gaps[0]


def test_calibration_after_temperature_is_recorded_for_each_run(
    store: Path, results: dict[str, RunResult]
) -> None:
    table = read_tables(store / "runs/curves", kind="curves", schema=CURVES).to_pylist()
    counts: Counter[str] = Counter()
    for row in table:
        if row["name"] == "calibrated_count":
            counts[row["run_id"]] += int(row["value"])
    for each in results.values():
        if ("test", "temperature") in each.metrics:
            assert counts[each.run.run_id] == each.run.n_test


def test_what_the_last_request_changed(
    ask: Ask, store: Path, results: dict[str, RunResult]
) -> None:
    last = RequestStore(store).history("digits")[-1]
    runs = [each for each in results.values() if each.run.fingerprint in last.run_fingerprints]
    assert {each.run.seed for each in runs} == {1, 2, 3, 4}
    (row,) = ask("latest-changes", dataset="digits")
    assert (row["method"], row["shots"], row["change"]) == ("gda", 4, "changed")
    assert (row["seeds"], row["n_other_runs"]) == (4, 1)
    assert row["accuracy"] == pytest.approx(np.mean([r.metrics["test", "accuracy"] for r in runs]))
    # The runs of the seeds that were there before are the same ones.
    assert row["difference"] == 0
    assert {row["change"] for row in ask("latest-changes", dataset="numerals")} == {"new"}


def test_what_the_cache_saved(ask: Ask, store: Path) -> None:
    rows = {row["dataset"]: row for row in ask("cache-savings")}
    n_digits = len(indexed(store, "digits"))
    n_copies = 10 * N_COPIED
    # Three requests on digits encoded once; the second dataset found all of its images stored.
    assert rows["digits"]["n_encoded"] == n_digits + N_EXTRACTED
    assert rows["digits"]["n_reused"] == 2 * n_digits
    assert (rows["numerals"]["n_encoded"], rows["numerals"]["n_reused"]) == (0, n_copies)
    assert rows["all"]["n_reused"] == 2 * n_digits + n_copies
    extractions = [
        row
        for path in list_files(store / "runs/extractions")
        for row in read_rows(path)
        if row["n_encoded"] >= 32 and row["seconds"] >= 0.5
    ]
    rate = sum(row["n_encoded"] for row in extractions) / sum(row["seconds"] for row in extractions)
    assert rows["digits"]["hours_saved"] == pytest.approx(2 * n_digits / rate / 3600)


def read_rows(path: Path) -> Rows:
    import pyarrow.parquet as pq  # noqa: PLC0415  # as others read it

    rows: Rows = pq.read_table(path).to_pylist()
    return rows


def test_who_was_champion_on_which_evidence(ask: Ask, store: Path) -> None:
    (record,) = PromotionStore(store).history("digits")
    (row,) = ask("promotion-history", dataset="digits")
    for name in ("decided_at", "decision", "method", "accuracy_challenger", "p_value", "n_images"):
        assert row[name] == getattr(record, name)


def recalls(
    results: dict[str, RunResult],
    predictions: dict[tuple[str, str], Rows],
    method: str,
    shots: int,
) -> dict[str, float]:
    """The recall of each class of the digits, over all seeds."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for each in of(results, method):
        if each.run.shots == shots:
            for row in predictions[each.run.run_id, "test"]:
                name = each.run.class_names[row["label"]]
                hits[name].append(row["label"] == row["predicted"])
    return {name: float(np.mean(right)) for name, right in hits.items()}


def test_classes_that_are_hardest(
    ask: Ask, results: dict[str, RunResult], predictions: dict[tuple[str, str], Rows]
) -> None:
    expected = recalls(results, predictions, "clip-adapter", 4)
    rows = ask("hard-classes", dataset="digits", method="clip-adapter", shots=4, top=3)
    assert [row["recall"] for row in rows] == pytest.approx(sorted(expected.values())[:3])
    for row in rows:
        assert row["recall"] == pytest.approx(expected[row["class_name"]])
        assert (row["model"], row["image_choice"]) == ("glyphs", "own")
        assert (
            row["settings_fingerprint"] == of(results, "clip-adapter")[0].run.settings_fingerprint
        )
    hardest = ask("hard-classes", top=1000)
    assert [row["recall"] for row in hardest] == sorted(row["recall"] for row in hardest)
    assert {row["dataset"] for row in hardest} == {"digits", "numerals"}


def test_classes_that_got_worse(
    ask: Ask, results: dict[str, RunResult], predictions: dict[tuple[str, str], Rows]
) -> None:
    before = recalls(results, predictions, "zero-shot", 0)
    expected = {
        (shots, name): recall - before[name]
        for shots in (1, 4)
        for name, recall in recalls(results, predictions, "clip-adapter", shots).items()
        if recall < before[name]
    }
    rows = ask("worse-classes", dataset="digits")
    assert {(row["shots"], row["class_name"]): row["change"] for row in rows} == pytest.approx(
        expected
    )
    assert expected


def test_images_of_two_datasets(ask: Ask, store: Path) -> None:
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name in ("digits", "numerals"):
        for digest, split in indexed(store, name).items():
            places[digest.hex()].add((name, split))
    expected = {
        (digest, *place) for digest, found in places.items() if len(found) > 1 for place in found
    }
    rows = ask("repeated-images")
    assert {(row["image_sha256"], row["dataset"], row["split"]) for row in rows} == expected
    assert len(rows) == 2 * 10 * N_COPIED
    assert all((row["n_runs_trained"] is None) == (row["split"] != "test") for row in rows)
    assert not any(row["n_runs_trained"] for row in rows)


def test_what_every_choice_rested_on(ask: Ask, results: dict[str, RunResult]) -> None:
    rows = ask("selection-data", dataset="digits", method="clip-adapter")
    runs = {(each.run.shots, each.run.seed): each.run for each in of(results, "clip-adapter")}
    assert {(row["shots"], row["seed"]) for row in rows} == set(runs)
    for row in rows:
        run = runs[row["shots"], row["seed"]]
        assert run.tried is not None
        assert row["hyperparameter"] in run.chosen
        assert float(row["chosen"]) in {each.settings[row["hyperparameter"]] for each in run.tried}
        assert (row["selected_on"], row["n_images"]) == (run.selected_on, run.n_validation)
        assert row["n_candidates"] == len(run.tried)
        best = max(each.validation_accuracy for each in run.tried)
        assert row["accuracy_on_these"] == best


def test_what_the_store_holds(ask: Ask, store: Path) -> None:
    rows = ask("store-contents")
    kept = [path for path in store.rglob("*.parquet") if not path.name.startswith(".")]
    classifiers = list((store / "champions").rglob("*.safetensors"))
    assert sum(row["n_files"] for row in rows) == len(kept) + len(classifiers)
    assert sum(row["n_bytes"] for row in rows) == sum(
        path.stat().st_size for path in [*kept, *classifiers]
    )
    by_kind = {(row["kind"], row["dataset"]): row for row in rows}
    assert by_kind["dataset-index", "numerals"]["n_rows"] == 10 * N_COPIED
    assert by_kind["image-features", None]["model"] == "glyphs"
    table = read_tables(store / "runs/metrics", kind="metrics", schema=METRICS)
    assert by_kind["metrics", None]["n_rows"] == table.num_rows


def test_which_runs_used_which_choice_of_images(ask: Ask, results: dict[str, RunResult]) -> None:
    rows = ask("image-choices")
    found = {
        (row["dataset"], row["image_choice"], row["method"], row["shots"]): row["seeds"]
        for row in rows
    }
    expected = defaultdict(list)
    for each in results.values():
        run = each.run
        if run.shots:
            expected[run.dataset, run.image_choice, run.method, run.shots].append(run.seed)
    assert found == {key: sorted(seeds) for key, seeds in expected.items()}
    assert any(choice == "budget:40" for _, choice, _, _ in found)


def test_classes_that_every_method_confuses(
    ask: Ask, results: dict[str, RunResult], predictions: dict[tuple[str, str], Rows]
) -> None:
    shares: dict[str, dict[tuple[str, str], float]] = {}
    for method in ("zero-shot", "gda", "clip-adapter"):
        counts: Counter[tuple[str, str]] = Counter()
        for each in of(results, method):
            names = each.run.class_names
            for row in predictions[each.run.run_id, "test"]:
                counts[names[row["label"]], names[row["predicted"]]] += 1
        totals: Counter[str] = Counter()
        for (label, _), count in counts.items():
            totals[label] += count
        shares[method] = {pair: count / totals[pair[0]] for pair, count in counts.items()}
    common = set.intersection(*(set(each) for each in shares.values()))
    expected = {
        pair: min(each[pair] for each in shares.values()) for pair in common if pair[0] != pair[1]
    }
    rows = ask("confused-classes", dataset="digits", top=1000)
    found = {(row["class_name"], row["predicted_name"]): row["share_min"] for row in rows}
    assert found == pytest.approx(expected)
    assert found


def test_the_recorded_splits_are_those_of_the_view(database: RunDatabase, store: Path) -> None:
    stored = read_tables(store / "runs/splits", kind="splits", schema=SPLITS)
    assert database.query("FROM splits").num_rows == stored.num_rows
    sets = {row["split_fingerprint"] for row in stored.to_pylist()}
    assert database.query("FROM training_sets").num_rows == len(sets)


def test_every_question_has_a_test_here() -> None:
    text = Path(__file__).read_text()
    asked = {name for name in saved_questions() if f'ask("{name}"' in text}
    assert saved_questions().keys() == asked
