"""Features of an encoder or dataset go; what champions rest on and other datasets share stays."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from interruptions import interrupted
from states import damaged_files, rows_in
from synthetic_datasets import CLASSES, OTHER_ENCODER, SIZES, SyntheticDatasets

from clip_adapter import extract
from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.pipeline.drop import drop_features
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.evidence import evidence_on
from clip_adapter.runs import PromotionStore
from feature_cache import FeatureStore, NotStoredError, stores

PutPhotos = Callable[..., Path]


def stored(root: Path, encoded: EncodedDataset) -> set[bytes]:
    store, digests = FeatureStore(root, encoded.encoder), encoded.dataset.index.image_sha256
    return set(digests) - set(store.missing_images(digests))


def test_an_encoder_goes_with_its_prompts_and_description_and_is_encoded_again(
    root: Path, photos: Path, tiny_model: str
) -> None:
    run = partial(extract, f"imagefolder:{photos}", tiny_model, root=root)
    first = run()
    done = drop_features(root, encoder=tiny_model, dry_run=False)
    assert {each.kind: each.n_rows for each in done.removed}["image-features"] == 90
    assert [each for each in rows_in(root) if each[0].startswith("features/")] == []
    assert list(stores(root)) == []
    again = run()
    assert (again.n_encoded, again.n_prompts_encoded) == (90, first.n_prompts_encoded)


def test_the_images_of_a_champion_stay_in_its_encoder_alone(
    root: Path, datasets: SyntheticDatasets, gallery: EncodedDataset
) -> None:
    other = datasets.make_dataset(encoder=OTHER_ENCODER)
    evidence = set(evidence_on(root, "gallery").images.to_pylist())
    n_images = len(CLASSES) * sum(SIZES.values())
    assert 0 < len(evidence) < n_images
    done = drop_features(root, dataset="gallery", dry_run=False)
    assert done.n_images_kept == len(evidence)
    assert stored(root, gallery) == evidence
    assert stored(root, other) == set()
    assert FeatureStore(root, gallery.encoder).missing_prompts(gallery.dataset.prompts) == []
    assert PromotionStore(root).champion("gallery", on_corruption=lambda _: None) is not None
    done = drop_features(root, encoder=gallery.encoder[:12], dry_run=False)
    assert (done.removed, stored(root, gallery)) == ((), evidence)


def test_what_another_dataset_names_stays(
    root: Path, photos: Path, tiny_model: str, tmp_path: Path, put_photos: PutPhotos
) -> None:
    extract(f"imagefolder:{photos}", tiny_model, root=root)
    for name in ("red", "blue"):
        put_photos(tmp_path / "others", name, range(10))  # of the ninety
    others = partial(extract, f"imagefolder:{tmp_path / 'others'}", tiny_model, root=root)
    assert others().n_encoded == 0
    done = drop_features(root, dataset="photos", dry_run=False)
    assert [(each.kind, each.n_rows) for each in done.removed] == [("image-features", 70)]
    assert others().n_encoded == 0


def test_without_yes_it_only_counts(root: Path, gallery: EncodedDataset) -> None:
    before = sorted(root.rglob("*"))
    shown = drop_features(root, dataset="gallery", dry_run=True)
    assert sorted(root.rglob("*")) == before
    assert shown == drop_features(root, dataset="gallery", dry_run=False)
    assert stored(root, gallery)


@pytest.mark.usefixtures("gallery")
def test_a_name_that_is_none_is_explained(root: Path, datasets: SyntheticDatasets) -> None:
    with pytest.raises(ParameterError, match="give --encoder, --dataset, or both"):
        drop_features(root, dry_run=True)
    with pytest.raises(UnknownNameError, match="unknown encoder 'abababababac'"):
        drop_features(root, encoder="abababababac", dry_run=True)
    with pytest.raises(NotStoredError):
        drop_features(root, dataset="galery", dry_run=True)
    datasets.make_dataset(encoder=OTHER_ENCODER)
    for encoder in ("ab" * 32, OTHER_ENCODER):
        FeatureStore(root, encoder).describe({"model": "two"})
    with pytest.raises(ParameterError, match="2 encoders are called 'two'"):
        drop_features(root, encoder="two", dry_run=True)


def test_dropping_that_is_killed_anywhere_leaves_a_sound_store_and_is_finished_by_the_next(
    root: Path, datasets: SyntheticDatasets, gallery: EncodedDataset
) -> None:
    datasets.make_dataset(encoder=OTHER_ENCODER)
    FeatureStore(root, OTHER_ENCODER).describe({"model": "other"})
    kept = rows_in(root, below=f"features/{gallery.encoder}")
    for step, copy in interrupted(
        root, lambda copy: drop_features(copy, encoder=OTHER_ENCODER, dry_run=False)
    ):
        assert damaged_files(copy) == []
        with suppress(UnknownNameError):  # it was done
            drop_features(copy, encoder=OTHER_ENCODER, dry_run=False)
        assert rows_in(copy, below="features") == kept, step
    assert step >= 2
