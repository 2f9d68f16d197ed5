from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from steps import encode_dataset, index_dataset

from clip_adapter.encoders import load_encoder
from clip_adapter.images import ImageError, augmented_views, decode_image
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.index import read_index
from feature_cache import FeatureStore, list_files, stores

Extract = Callable[..., EncodedDataset]


def test_the_first_time_everything_is_encoded(encoded: EncodedDataset) -> None:
    assert (encoded.n_encoded, encoded.n_reused, encoded.n_prompts_encoded) == (90, 0, 3)
    assert encoded.images_per_second > 0


def test_the_second_time_nothing_is_encoded(
    extract: Extract, encoded: EncodedDataset, photos: Path
) -> None:
    again = extract(photos)
    assert (again.n_encoded, again.n_reused, again.n_prompts_encoded) == (0, 90, 0)
    assert again.encoder == encoded.encoder


@pytest.mark.usefixtures("encoded")
def test_only_added_images_are_encoded(
    extract: Extract, photos: Path, put_photos: Callable[..., Path]
) -> None:
    put_photos(photos, "red", range(100, 105))
    again = extract(photos)
    assert (again.n_encoded, again.n_reused) == (5, 90)


@pytest.mark.usefixtures("encoded")
def test_a_picture_under_another_name_is_not_encoded_again(extract: Extract, photos: Path) -> None:
    (photos / "red" / "000.jpg").rename(photos / "red" / "renamed.jpeg")
    assert extract(photos).n_encoded == 0


@pytest.mark.usefixtures("encoded")
def test_a_picture_in_another_dataset_is_not_encoded_again(
    extract: Extract, tmp_path: Path, put_photos: Callable[..., Path]
) -> None:
    for class_name in ("first", "second"):
        put_photos(
            tmp_path / "elsewhere",
            class_name,
            range(30),
            colour="red" if class_name == "first" else "blue",
        )
    other = extract(tmp_path / "elsewhere")
    assert (other.n_encoded, other.n_reused, other.n_prompts_encoded) == (0, 60, 2)


@pytest.mark.usefixtures("encoded")
def test_other_weights_encode_everything_into_a_store_of_their_own(
    extract: Extract, photos: Path, root: Path, other_tiny_model: str
) -> None:
    assert extract(photos, model=other_tiny_model).n_encoded == 90
    assert len(stores(root)) == 2


def test_lost_files_are_encoded_again_to_the_last_bit(
    extract: Extract, encoded: EncodedDataset, photos: Path, root: Path
) -> None:
    store = FeatureStore(root, encoded.encoder)
    digests = read_index(encoded.dataset).image_sha256
    before = store.read_images(digests)
    for path in (store.folder / "image").glob("*.parquet"):
        path.unlink()
    assert extract(photos).n_encoded == 90
    np.testing.assert_array_equal(store.read_images(digests), before)


def test_a_cached_feature_is_what_the_encoder_says_of_that_picture(
    encoded: EncodedDataset, photos: Path, root: Path, tiny_model: str
) -> None:
    encoder, index = load_encoder(tiny_model), read_index(encoded.dataset)
    row = index.paths.index("green/007.jpg")
    picture = decode_image((photos / "green" / "007.jpg").read_bytes())
    pixels = encoder.geometry.pixels(picture, image_sha256=index.image_sha256[row])[None]
    cached = FeatureStore(root, encoded.encoder).read_images([index.image_sha256[row]])
    np.testing.assert_array_equal(cached, encoder.encode_images(pixels))


def test_prompts_go_class_by_class(encoded: EncodedDataset) -> None:
    assert encoded.dataset.prompts == [f"a photo of a {name}." for name in ("blue", "green", "red")]


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"other"), Path.unlink])
def test_a_file_that_changes_after_indexing_is_named(
    change: Callable[[Path], object], photos: Path, root: Path, tiny_model: str
) -> None:
    indexed = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    change(photos / "red" / "003.jpg")
    with pytest.raises(ImageError, match=r"red/003\.jpg.* is not the file that was indexed"):
        encode_dataset(indexed, Encoding(model=tiny_model))


def test_augmented_views_are_encoded_beside_the_image_itself(
    extract: Extract, encoded: EncodedDataset, photos: Path, root: Path, tiny_model: str
) -> None:
    with_views = extract(photos, views=2, augmentation="coop")
    assert (with_views.n_encoded, with_views.n_reused) == (180, 90)
    assert with_views.encoder == encoded.encoder
    digest = read_index(encoded.dataset).image_sha256[0]
    encoder = load_encoder(tiny_model)
    picture = decode_image((photos / read_index(encoded.dataset).paths[0]).read_bytes())
    for view in augmented_views(2, "coop"):
        pixels = encoder.geometry.pixels(picture, image_sha256=digest, view=view)[None]
        cached = FeatureStore(root, encoded.encoder).read_images([digest], view=view)
        np.testing.assert_array_equal(cached, encoder.encode_images(pixels))


@pytest.mark.usefixtures("encoded")
def test_more_views_encode_only_those_that_are_new(extract: Extract, photos: Path) -> None:
    assert extract(photos, views=1).n_encoded == 90
    assert extract(photos, views=3).n_encoded == 180
    assert extract(photos, views=2).n_encoded == 0


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"resize": "squash"}])
def test_another_arithmetic_or_preprocessing_is_another_encoder(
    extract: Extract, encoded: EncodedDataset, photos: Path, change: dict[str, str]
) -> None:
    other = extract(photos, **change)
    assert other.n_encoded == 90
    assert other.encoder != encoded.encoder


def test_spawned_processes_load_the_same_pixels(
    extract: Extract, encoded: EncodedDataset, photos: Path, root: Path
) -> None:
    store = FeatureStore(root, encoded.encoder)
    digests = read_index(encoded.dataset).image_sha256
    before = store.read_images(digests)
    for path in list_files(store.folder / "image"):
        Path(str(path)).unlink()
    assert extract(photos, processes=2).n_encoded == 90
    np.testing.assert_array_equal(store.read_images(digests), before)


def test_a_damaged_file_is_set_aside_and_only_what_it_held_is_encoded_again(
    extract: Extract, encoded: EncodedDataset, photos: Path, put_photos: Callable[..., Path]
) -> None:
    store = FeatureStore(encoded.dataset.root, encoded.encoder)
    (whole,) = list_files(store.folder / "image")
    put_photos(photos, "red", range(100, 105))
    extract(photos)
    content = bytearray(Path(str(whole)).read_bytes())
    content[len(content) // 2] ^= 1
    Path(str(whole)).write_bytes(content)
    again = extract(photos)
    assert (again.n_encoded, again.n_reused) == (90, 5)
    assert extract(photos).n_encoded == 0
    assert len(list(Path(str(store.folder)).glob("image/*.damaged"))) == 1


def test_what_became_many_small_files_is_merged(
    extract: Extract, encoded: EncodedDataset, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(encoded.dataset.root, encoded.encoder)
    digests = read_index(encoded.dataset).image_sha256
    before = store.read_images(digests)
    monkeypatch.setattr("clip_adapter.pipeline.encode.FILES_WORTH_MERGING", 2)
    extract(photos, views=1)
    assert len(list_files(store.folder / "image")) == 1
    np.testing.assert_array_equal(store.read_images(digests), before)
