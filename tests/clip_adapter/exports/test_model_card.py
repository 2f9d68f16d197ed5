"""The model card: numbers from SQL, a header that the hub reads, and text that stays text."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard as HubCard

from clip_adapter.exports import ModelCard, public_classifier, read_card
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
    "n_unreadable": 0,
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


def test_published_splits_are_told(champion: ModelCard) -> None:
    published = replace(champion, run={**champion.run, "image_choice": "published:0123456789"})
    assert " a class, published splits, drawn with seed" in text_of(published)
    assert "splits, drawn" not in text_of(champion)


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
    assert "are as the file says" in text
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
    text = text_of(read_card(saved, root=tmp_path))
    assert "the accuracy below is no result" in text
    assert "read once" not in text
    assert HubCard(text).data.eval_results is None
    plain = text_of(read_card(make_classifier("linear"), root=tmp_path))
    assert "The test split was read once, after that" in plain


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
    assert "Encoder: a local model (my-clip)" in text
    assert "someone" not in text


def reversed_rows(saved: SavedClassifier) -> SavedClassifier:
    classifier: Any = saved.classifier
    return replace(saved, classifier=replace(classifier, weight=classifier.weight[::-1].copy()))


def test_a_file_has_no_number_of_the_run_that_it_names(champion: ModelCard) -> None:
    of_file = text_of(read_card(reversed_rows(champion.saved), root=None))
    assert "are as the file says" in of_file
    run_id = champion.run["run_id"][:12]
    for only_of_store in (run_id, "### Classes", "calibration error on the test images, over 15"):
        assert only_of_store in text_of(champion)
        assert only_of_store not in of_file
    assert "calibration error on test images is not recorded" in of_file


def test_a_classifier_that_was_measured_again_has_its_own_accuracy(champion: ModelCard) -> None:
    metadata = champion.saved.metadata
    assert metadata is not None
    (score,) = metadata.scores
    other = metadata.model_copy(update={"scores": (score.model_copy(update={"value": 0.125}),)})
    card = read_card(replace(champion.saved, metadata=other), root=STORE)
    assert (card.run, card.classes, card.is_measured_again) == ({}, (), True)
    text = text_of(card)
    assert "| 78 | 12.5 % |" in text
    assert "fitted again and measured again" in text


def test_calibration_says_what_the_temperature_was_fitted_on(
    make_classifier: Make, make_metadata: Callable[..., Any]
) -> None:
    def told(**fields: Any) -> str:
        saved = make_classifier("linear", metadata=make_metadata(**fields))
        return text_of(read_card(saved, root=None))

    chosen_too = "The same images chose the settings"
    assert "fitted on 12 validation images" in told()
    assert chosen_too in told()
    assert chosen_too not in told(selected_on="nothing")
    held_out = told(n_validation=0, selected_on="held-out shots")
    assert "fitted on training images, each by a classifier that was fitted without it" in held_out
    assert chosen_too in held_out
    assert "No temperature was fitted" in told(temperature=None)


@pytest.mark.parametrize("temperature", [0.05, 0.0500001, 999.99, 1000.0])
def test_a_temperature_at_a_bound_calibrates_nothing(
    temperature: float, make_classifier: Make, make_metadata: Callable[..., Any]
) -> None:
    saved = make_classifier("linear", metadata=make_metadata(temperature=temperature))
    text = text_of(read_card(saved, root=None))
    assert "**The confidences are not calibrated:** the temperature is at a bound" in text
    inside = make_classifier("linear", metadata=make_metadata(temperature=0.06))
    assert "not calibrated:" not in text_of(read_card(inside, root=None))


@pytest.mark.parametrize(("after", "is_calibrated"), [(0.05, True), (0.1, False), (0.2, False)])
def test_a_temperature_that_does_not_lower_the_error_calibrates_nothing(
    after: float, make_classifier: Make, *, is_calibrated: bool
) -> None:
    metrics = {("test", "ece"): 0.1, ("test", "ece_calibrated"): after}
    text = text_of(ModelCard(saved=make_classifier("linear"), metrics=metrics))
    assert f"0.100 without the temperature, {after:.3f} with it" in text
    assert ("**The confidences are not calibrated:** the error" in text) is not is_calibrated


def test_images_that_could_not_be_read_are_counted(make_classifier: Make) -> None:
    card = read_card(make_classifier("linear"), root=None)
    assert "3 more images could not be read" in text_of(card, n_unreadable=3)
    assert "could not be read" not in text_of(card)


def test_a_local_model_is_not_described_by_its_name(
    make_classifier: Make, make_metadata: Callable[..., Any]
) -> None:
    metadata = make_metadata(encoder={"model": "local-dir:/home/me/glyphs", "licence": "MIT"})
    text = text_of(
        read_card(public_classifier(make_classifier("linear", metadata=metadata)), root=None)
    )
    assert "printed characters" not in text
    assert HubCard(text).data.license == "unknown"
    assert "printed characters" in text_of(read_card(make_classifier("linear"), root=None))
