"""The model card: numbers from SQL, a header that the hub reads, and text that stays text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard as HubCard
from scipy.stats import binomtest

from clip_adapter.exports import ModelCard, public_classifier, read_card
from clip_adapter.exports.card import wilson_interval
from clip_adapter.methods import SavedClassifier
from clip_adapter.methods.classifier_metadata import Score
from clip_adapter.pipeline.load import load
from clip_adapter.runs import query

STORE = Path(__file__).parents[2] / "golden" / "store-2"
DATASET = "imagefolder-colours-87987479"
CHECKED: dict[str, Any] = {
    "n_images": 64,
    "images": "training and validation images of pets",
    "is_real": True,
    "largest_difference": 2.5e-6,
    "precision": None,
}
Make = Callable[..., SavedClassifier]


def text_of(card: ModelCard, *, has_encoder: bool = True, **checked: Any) -> str:
    return card.text(has_encoder=has_encoder, checked={**CHECKED, **checked})


@pytest.fixture(scope="module", name="champion")
def _champion() -> ModelCard:
    return read_card(load(f"champion:{DATASET}", root=STORE).saved, root=STORE)


def test_the_numbers_are_those_of_sql(champion: ModelCard) -> None:
    run_id = champion.run["run_id"]
    asked = "SELECT value FROM metrics WHERE run_id = $run_id AND split = 'test' AND name = $name"
    accuracy, ece = (
        query(STORE, asked, {"run_id": run_id, "name": name})["value"][0].as_py()
        for name in ("accuracy", "ece_calibrated")
    )
    text = text_of(champion)
    assert f"| 78 | {100 * accuracy:.1f} % |" in text
    assert f"{ece:.3f} with it" in text
    (counts,) = query(
        STORE,
        "SELECT count(*) FILTER (split = 'train') AS n FROM images WHERE index_fingerprint = $index",
        {"index": champion.run["index_fingerprint"]},
    ).to_pylist()
    assert f"{counts['n']} training" in text
    assert sum(row["n"] for row in champion.classes) == 78
    assert f"run {run_id[:12]}" in text


def test_zero_shot_is_compared_on_the_same_images(champion: ModelCard) -> None:
    compared = champion.zero_shot
    assert compared is not None
    assert compared.n_images == 78
    (expected,) = query(
        STORE,
        "SELECT value FROM current_runs JOIN metrics USING (run_id) WHERE method = 'zero-shot' "
        "AND split = 'test' AND name = 'accuracy'",
    )["value"].to_pylist()
    assert compared.accuracy_b == pytest.approx(expected)
    assert f"on the same images: {100 * expected:.1f} %" in text_of(champion)


def test_the_hub_reads_the_header(champion: ModelCard) -> None:
    data = HubCard(text_of(champion)).data
    assert (data.license, data.pipeline_tag) == ("apache-2.0", "image-classification")
    assert data.library_name == "clip-adapter"
    assert {"clip", "few-shot", "onnx", "linear-probe"} == set(data.tags)
    (result,) = data.eval_results
    assert (result.metric_type, result.dataset_split) == ("accuracy", "test")
    assert champion.accuracy is not None
    assert result.metric_value == pytest.approx(champion.accuracy.value, abs=1e-6)


def test_without_the_run_the_numbers_are_those_of_the_file(
    make_classifier: Make, make_metadata: Callable[..., Any], tmp_path: Path
) -> None:
    score = Score(name="accuracy", split="test", value=0.75, low=0.6, high=0.85, n_images=40)
    saved = make_classifier("linear", metadata=make_metadata(scores=(score,)))
    text = text_of(read_card(saved, root=tmp_path / "no store"))
    assert "| 40 | 75.0 % | 60.0 % to 85.0 % |" in text
    assert "no run store was at hand" in text
    assert "It was not compared with zero-shot" in text


def test_what_is_not_known_is_said(make_classifier: Make, tmp_path: Path) -> None:
    card = read_card(make_classifier("linear"), root=tmp_path)
    text = text_of(card)
    assert text.count("not known: check before you publish") == 2  # images and weights
    assert HubCard(text).data.license == "unknown"
    older = text_of(read_card(make_classifier("linear", metadata=None), root=tmp_path))
    assert "of a version that did not record it" in older
    assert "No accuracy is recorded." in older


def test_a_selection_on_test_images_is_no_result(
    make_classifier: Make, make_metadata: Callable[..., Any], tmp_path: Path
) -> None:
    saved = make_classifier("linear", metadata=make_metadata(selected_on="test (oracle)"))
    assert "the accuracy below is no result" in text_of(read_card(saved, root=tmp_path))


def test_generated_pictures_and_another_precision_are_said(
    make_classifier: Make, tmp_path: Path
) -> None:
    card = read_card(make_classifier("linear"), root=tmp_path)
    assert "as no real image was at hand" in text_of(card, is_real=False)
    other = {"name": "bf16", "largest_difference": 0.012, "n_other_class": 3}
    assert "differ by at most 1.2e-02, and 3 of 64 images" in text_of(card, precision=other)


def test_names_stay_text(
    make_classifier: Make, make_metadata: Callable[..., Any], tmp_path: Path
) -> None:
    hostile = "](http://evil) <script> | `x`\n# head"
    described = make_metadata(
        dataset=hostile,
        dataset_licence=hostile,
        dataset_citation=hostile,
        templates=(hostile,),
        encoder={"model": hostile, "licence": hostile},
    )
    text = text_of(read_card(make_classifier("linear", metadata=described), root=tmp_path))
    header, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert "<script>" not in body
    assert "](http://evil" not in body.replace("\\]", "")
    assert not any(line.startswith("# head") for line in text.splitlines())
    assert HubCard(text).data.datasets == [hostile]
    assert "model-index" not in header  # there is no accuracy


def test_the_encoder_of_a_folder_is_called_by_the_name_of_the_folder(
    make_classifier: Make, make_metadata: Callable[..., Any], tmp_path: Path
) -> None:
    described = make_metadata(encoder={"model": "local-dir:/home/someone/models/my-clip"})
    saved = public_classifier(make_classifier("linear", metadata=described))
    text = text_of(read_card(saved, root=tmp_path))
    assert "Encoder: my-clip" in text
    assert "someone" not in text


@pytest.mark.parametrize(("n_correct", "n"), [(0, 5), (9, 10), (78, 78), (613, 899)])
def test_the_interval_is_that_of_wilson(n_correct: int, n: int) -> None:
    expected = binomtest(n_correct, n).proportion_ci(method="wilson")
    assert wilson_interval(n_correct, n) == pytest.approx((expected.low, expected.high))
