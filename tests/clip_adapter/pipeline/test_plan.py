"""Which runs a sweep consists of, and what makes one run another."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import index_dataset, plan
from synthetic_datasets import SyntheticDatasets

from clip_adapter.datasets import DatasetError, DatasetIndex, FewShotSplit
from clip_adapter.methods import create_method
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.plan import SplitSpec, log_selection, log_short_classes, plan_runs
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.shots import ALL_SHOTS

PROBE: dict[str, Any] = {"methods": ["linear-probe"], "shots": [1], "seeds": [1]}
Change = Callable[[EncodedDataset], tuple[EncodedDataset, dict[str, Any]]]


def of_dataset(**fields: Any) -> Change:
    """The dataset with other properties, and the rows it had."""

    def change(encoded: EncodedDataset) -> tuple[EncodedDataset, dict[str, Any]]:
        rows = encoded.dataset.index
        return replace(encoded, dataset=replace(encoded.dataset, **fields).with_index(rows)), {}

    return change


def of_encoder(encoded: EncodedDataset) -> tuple[EncodedDataset, dict[str, Any]]:
    return replace(encoded, encoder="ef" * 32), {}


def of_sweep(**fields: Any) -> Change:
    return lambda encoded: (encoded, fields)


@pytest.mark.parametrize(
    "change",
    [
        of_dataset(index_fingerprint="other"),
        of_dataset(class_names=("cat", "dog", "owl")),
        of_dataset(templates=("one {}.",)),
        of_dataset(class_prompts=(("one {}.",), ())),
        of_encoder,
        of_sweep(settings={"linear-probe": {"refinements": 1}}),
        of_sweep(shots=[2]),
        of_sweep(seeds=[2]),
        of_sweep(study="prompt-style"),
    ],
)
def test_whatever_decides_a_result_makes_another_run(
    datasets: SyntheticDatasets, change: Change
) -> None:
    encoded = datasets.make_dataset()
    (before,), (again,) = (plan(encoded, **PROBE) for _ in range(2))
    other, fields = change(encoded)
    (after,) = plan(other, **{**PROBE, **fields})
    assert again.fingerprint == before.fingerprint
    assert after.fingerprint != before.fingerprint


def test_other_code_makes_another_run(
    datasets: SyntheticDatasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = datasets.make_dataset()
    sweep = {**PROBE, "methods": ["zero-shot", "linear-probe"]}
    before = {spec.fingerprint for spec in plan(encoded, **sweep)}
    monkeypatch.setattr("clip_adapter.pipeline.plan.digest_code", lambda _: "other code")
    after = {spec.fingerprint for spec in plan(encoded, **sweep)}
    assert len(before | after) == 4


def test_other_views_make_another_run_of_a_method_that_trains_on_them(
    datasets: SyntheticDatasets,
) -> None:
    encoded = datasets.make_dataset()
    methods = ["linear-probe", "clip-adapter"]
    sweep = {**PROBE, "methods": methods, "settings": {"clip-adapter": {"views": 2}}}
    (probe, adapter), (other_probe, other_adapter) = (
        plan(replace(encoded, augmented_views=views), **sweep) for views in ((1, 2), (1001, 1002))
    )
    assert probe.fingerprint == other_probe.fingerprint
    assert adapter.fingerprint != other_adapter.fingerprint


def test_a_class_without_a_test_image_is_refused(photos: Path, root: Path) -> None:
    for split in ("train", "test"):
        (photos / split).mkdir()
    for name in ("red", "green", "blue"):
        (photos / name).rename(photos / "train" / name)
    (photos / "test" / "red").mkdir()
    (photos / "train" / "red" / "000.jpg").rename(photos / "test" / "red" / "000.jpg")
    indexed = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    message = r"2 of 3 classes .* \('blue', 'green'\).* \(--short-classes skip\)"
    with pytest.raises(DatasetError, match=message):
        SplitSpec(shots=[1], seeds=[1]).splits(indexed.index)


@pytest.fixture(name="with_few")
def _with_few(photos: Path, root: Path, put_photos: Callable[..., Path]) -> DatasetIndex:
    """Three classes of thirty photos and one of three."""
    put_photos(photos, "a-few", range(100, 103), colour="blue")
    return index_dataset(f"imagefolder:{photos}", root=root, data=root).index


def splits_of(index: DatasetIndex, **spec: Any) -> list[FewShotSplit]:
    return SplitSpec(**{"shots": [1, 4], "seeds": [1, 2], **spec}).splits(index)


def test_a_class_of_three_is_enough_for_one_shot(with_few: DatasetIndex) -> None:
    for split in splits_of(with_few, shots=[1]):
        assert np.bincount(with_few.labels[split.train_rows]).tolist() == [1, 1, 1, 1]
        assert np.bincount(with_few.labels[split.val_rows]).tolist() == [1, 1, 1, 1]


def test_a_short_class_is_an_error_that_names_the_ways_out(with_few: DatasetIndex) -> None:
    with pytest.raises(DatasetError, match=r"'a few' .* --shots 1 .*skip\).*take-all\)$"):
        splits_of(with_few)


def test_a_short_class_that_gives_what_it_has_is_reported_once_for_each_number_of_shots(
    with_few: DatasetIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = splits_of(with_few, shots=[1, 2, 4, ALL_SHOTS], short_classes="take-all")
    log_short_classes(splits, with_few, reporter=Reporter())
    assert capsys.readouterr().err.splitlines() == [
        "class 'a few' trains on 1 of 2 images",
        "class 'a few' trains on 1 of 4 images",
    ]


def test_where_no_class_is_short_it_does_not_matter_what_short_classes_would_do(
    photos: Path, root: Path
) -> None:
    index = index_dataset(f"imagefolder:{photos}", root=root, data=root).index
    chosen = {
        way: [
            split.fingerprint(index.image_sha256) for split in splits_of(index, short_classes=way)
        ]
        for way in ("error", "skip", "take-all")
    }
    assert chosen["error"] == chosen["skip"] == chosen["take-all"]


def test_without_validation_the_shots_of_a_seed_are_the_same(with_few: DatasetIndex) -> None:
    spec: dict[str, Any] = {"shots": [1, 4], "short_classes": "take-all"}
    validated, alone = (splits_of(with_few, **spec, validation=each) for each in (True, False))
    few = with_few.source.class_names.index("a few")
    for one, other in zip(validated, alone, strict=True):
        trained = [
            set(rows[with_few.labels[rows] != few]) for rows in (one.train_rows, other.train_rows)
        ]
        assert trained[0] == trained[1]
        assert (len(one.val_rows) > 0, len(other.val_rows)) == (True, 0)
    # The class of three has one image in each split.
    assert (with_few.labels[alone[-1].train_rows] == few).sum() == 2


def test_a_class_is_left_out_by_what_it_lacks_without_validation(
    photos: Path, root: Path, put_photos: Callable[..., Path]
) -> None:
    put_photos(photos, "a-few", range(100, 103), colour="blue")
    names = {
        validation: index_dataset(
            f"imagefolder:{photos}", root=root, data=root, skip_short=[2], validation=validation
        ).class_names
        for validation in (True, False)
    }
    assert "a few" in names[False]
    assert "a few" not in names[True]


def test_of_published_choices_those_that_train_are_taken(photos: Path, root: Path) -> None:
    index = index_dataset(f"imagefolder:{photos}", root=root, data=root).index
    ours = SplitSpec(shots=[2], seeds=[1]).splits(index)[0]
    content = {
        role: [
            {"impath": index.paths[row], "label": int(index.labels[row])} for row in rows.tolist()
        ]
        for role, rows in (("train", ours.train_rows), ("val", ours.val_rows))
    }
    (root.parent / "shot_2-seed_1.json").write_text(json.dumps(content))
    spec: dict[str, Any] = {"shots": [2], "seeds": [1], "indices": root.parent}
    (published,) = SplitSpec(**spec).splits(index)
    (alone,) = SplitSpec(**spec, validation=False).splits(index)
    assert published.val_rows.tolist() == ours.val_rows.tolist()
    assert alone.train_rows.tolist() == ours.train_rows.tolist()
    assert alone.val_rows.tolist() == []


@pytest.mark.parametrize("way", ["skip", "take-all"])
def test_published_choices_leave_nothing_to_say_about_short_classes(
    tmp_path: Path, way: Any
) -> None:
    with pytest.raises(DatasetError, match=f"--short-classes {way} can change nothing"):
        SplitSpec(shots=[1], seeds=[1], indices=tmp_path, short_classes=way)


def test_the_digits_are_written_below_the_root(root: Path, tmp_path: Path) -> None:
    indexed = index_dataset("digits", root=root, data=tmp_path / "somebodys-datasets")
    assert indexed.folder == root / "images" / "digits"
    assert not (tmp_path / "somebodys-datasets").exists()
    SplitSpec(shots=[1], seeds=[1]).splits(indexed.index)


def test_runs_without_validation_images_are_others(encoded: EncodedDataset) -> None:
    with_some, without = (
        plan_runs(
            encoded,
            [create_method("gda"), create_method("zero-shot")],
            SplitSpec(shots=[1], seeds=[1], validation=each).splits(encoded.dataset.index),
        )
        for each in (True, False)
    )
    assert with_some[0].settings_fingerprint != without[0].settings_fingerprint
    assert with_some[1] == replace(without[1], split=with_some[1].split)


@pytest.mark.parametrize(("settings", "is_said"), [({}, True), ({"selection": "none"}, False)])
def test_it_is_said_once_that_no_image_validates(
    encoded: EncodedDataset, capsys: pytest.CaptureFixture[str], *, settings: Any, is_said: bool
) -> None:
    methods = [create_method("gda", settings), create_method("zero-shot")]
    for validation in (True, False):
        spec = SplitSpec(shots=[1, 2], seeds=[1], validation=validation)
        splits = spec.splits(encoded.dataset.index)
        capsys.readouterr()
        log_selection(methods, splits, reporter=Reporter())
        said = capsys.readouterr().err.splitlines()
        assert len(said) == (is_said and not validation)


def test_who_chose_the_images_is_known_by_the_published_choices(tmp_path: Path) -> None:
    (tmp_path / "shot_1-seed_1.json").write_text("{}")
    ours, theirs = (SplitSpec(shots=[1], seeds=[1], indices=each) for each in (None, tmp_path))
    before = theirs.image_choice
    assert (ours.image_choice, before[:10]) == ("own", "published:")
    (tmp_path / "shot_1-seed_2.json").write_text("{}")
    assert theirs.image_choice == before  # one more seed of the same publication
    (tmp_path / "shot_1-seed_1.json").write_text("[]")
    assert theirs.image_choice != before


def test_two_publications_share_no_run_even_of_the_same_images(
    datasets: SyntheticDatasets,
) -> None:
    """Else the run would stand on a board under the one that was trained first."""
    encoded = datasets.make_dataset()
    splits = SplitSpec(shots=[1], seeds=[1]).splits(encoded.dataset.index)
    methods = [create_method("gda"), create_method("zero-shot")]
    one, other = (
        plan_runs(encoded, methods, splits, image_choice=f"published:{digit * 8}") for digit in "ab"
    )
    assert one[0].fingerprint != other[0].fingerprint
    assert one[0].settings_fingerprint == other[0].settings_fingerprint
    assert one[1].fingerprint == other[1].fingerprint  # learns from no image
