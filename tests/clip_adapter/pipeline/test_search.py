"""Search: which images are found, by which encoder, and what is not loaded for it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from steps import index_dataset

from clip_adapter import ImageSearch, similar
from clip_adapter.errors import (
    DataError,
    EncoderError,
    ImageError,
    ParameterError,
    UnknownNameError,
)
from clip_adapter.pipeline import search
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.extract import extract as extract_requested
from clip_adapter.pipeline.search_sheet import search_sheet
from clip_adapter.report.contact_sheet import html_of
from clip_adapter.runs import RunStoreError
from feature_cache import FeatureStore, InvalidInputError, NotStoredError
from feature_cache.exchange import LabelledFeatures, import_features, texts_of_file

Extract = Callable[..., EncodedDataset]
PutPhotos = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("encoded")


def paths(result: search.SearchResult) -> list[str]:
    found: list[str] = result.to_arrow().column("path").to_pylist()
    return found


def vector(*numbers: float) -> Any:
    return np.array([*numbers, *[0.0] * (16 - len(numbers))])


@pytest.fixture(name="no_encoder")
def _no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an encoder is loaded")

    monkeypatch.setattr("clip_adapter.encoders.load_encoder", refuse)


def test_the_ranking_is_that_of_the_stored_features(encoded: EncodedDataset, root: Path) -> None:
    table = encoded.to_arrow()
    features = np.stack(table.column("feature").to_numpy()).astype(np.float64)
    query = features[7] + features[40]
    cosines = features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)
    best = np.argsort(-cosines, kind="stable")[:10]
    found = similar(query, root=root, top=10).to_arrow()
    assert found.column("path").to_pylist() == [table.column("path")[row].as_py() for row in best]
    np.testing.assert_allclose(found.column("cosine").to_numpy(), cosines[best], atol=1e-6)
    assert found.column("rank").to_pylist() == list(range(1, 11))
    for name in ("image_sha256", "class_name", "split"):
        assert found.column(name).to_pylist() == [table.column(name)[row].as_py() for row in best]
    assert set(found.column("dataset").to_pylist()) == {"photos"}


def test_more_images_than_there_are_gives_all(root: Path) -> None:
    result = similar(vector(1, 1), root=root, top=1_000)
    assert (len(result.to_arrow()), result.n_compared, result.notes) == (90, 90, ())


def test_in_memory_and_block_by_block_the_result_is_equal(root: Path) -> None:
    held, read = (ImageSearch.open("photos", root=root, in_memory=each) for each in (True, False))
    for query in ("a red square", vector(1, -2)):
        one, other = held.similar(query, top=90), read.similar(query, top=90)
        assert one.to_arrow().equals(other.to_arrow())
        assert one.summary == other.summary


def test_a_text_is_encoded_once(
    root: Path, encoded: EncodedDataset, request: pytest.FixtureRequest
) -> None:
    first = similar("a red square", dataset="photos", root=root)
    store = FeatureStore(root, encoded.encoder)
    assert store.missing_prompts(["a red square"]) == []
    request.getfixturevalue("no_encoder")
    again = similar("  a red square ", dataset="photos", root=root)
    assert again.to_arrow().equals(first.to_arrow())
    with pytest.raises(AssertionError, match="an encoder is loaded"):
        similar("a blue square", root=root)


@pytest.mark.usefixtures("no_encoder")
def test_an_image_that_is_stored_needs_no_encoder_wherever_it_lies(
    root: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copy(photos / "red" / "003.jpg", tmp_path / "elsewhere")
    for query in (tmp_path / "elsewhere", str(tmp_path / "elsewhere")):
        result = similar(query, root=root, top=1)
        assert paths(result) == ["red/003.jpg"]
        assert result.to_arrow().column("cosine")[0].as_py() == pytest.approx(1, abs=1e-6)


def test_an_image_that_is_not_stored_is_encoded_and_not_kept(
    root: Path, photos: Path, tmp_path: Path, encoded: EncodedDataset
) -> None:
    with Image.open(photos / "red" / "003.jpg") as picture:
        picture.save(tmp_path / "same.png")
        pictures = [picture.copy(), picture.convert("RGBA")]
    before = FeatureStore(root, encoded.encoder).statistics()
    found = [similar(query, root=root, top=1) for query in (tmp_path / "same.png", *pictures)]
    assert [paths(each) for each in found] == [["red/003.jpg"]] * 3
    assert FeatureStore(root, encoded.encoder).statistics() == before


def test_a_text_with_the_name_of_a_file_is_searched_for_if_it_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "red").write_text("no image")
    assert similar("red", kind="text", root=root).query == "the text 'red'"
    with pytest.raises(ImageError, match=r"'red' is not an image .*: its header is broken"):
        similar("red", root=root)
    with pytest.raises(ParameterError, match="the image 'blue' does not exist"):
        similar("blue", kind="image", root=root)
    (tmp_path / "green").mkdir()
    assert similar("green", root=root).query == "the text 'green'"


@pytest.mark.usefixtures("no_encoder")
@pytest.mark.parametrize("query", ["nowhere.JPG", "photos/red", "/a b", "~/x", "./red square"])
def test_what_looks_like_a_path_and_is_none_is_no_text(root: Path, query: str) -> None:
    with pytest.raises(ParameterError, match=r"no file .* looks like a path: .*--text"):
        similar(query, root=root)


@pytest.mark.usefixtures("no_encoder")
@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("", ParameterError, "the query is empty"),
        (" \n\t", ParameterError, "the query is empty"),
        ("x" * 10_240, ParameterError, "10,240 characters: expected a text of at most 1,000"),
        ("a\0b.jpg", ParameterError, r"no file 'a\\x00b\.jpg'"),
        ("\x1b[31mred.png", ParameterError, r"no file '\\x1b\[31mred\.png'"),
        ("half \ud800 of a pair", InvalidInputError, "expected valid text"),
        (np.zeros(16), DataError, "zero or not finite"),
        (np.ones(15), DataError, "width 15, and those of the images have width 16"),
        (np.ones((2, 16)), DataError, r"shape \[2, 16\]"),
        (None, DataError, "the query is a NoneType: expected a text"),
        (b"red", DataError, "the query is a bytes: expected a text"),
        (Path("nowhere"), ParameterError, "the image 'nowhere' does not exist"),
        (Image.new("F", (4, 4)), ImageError, "32 bits"),
    ],
)
def test_a_query_that_cannot_be_searched_for_is_one_clear_error(
    root: Path, query: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        similar(query, root=root)


def test_a_text_too_long_for_the_encoder_is_refused(root: Path) -> None:
    with pytest.raises(EncoderError, match="more than the 16 tokens"):
        similar("red " * 40, root=root)


def test_markup_in_a_query_is_shown_as_it_is(root: Path) -> None:
    result = similar("<b>red</b>\x1b[2J", kind="text", root=root, top=3)
    assert result.query == r"the text '<b>red</b>\x1b[2J'"
    for page in (result._repr_html_(), html_of(search_sheet(result))):
        assert "&lt;b&gt;red&lt;/b&gt;" in page
        assert "<b>" not in page
        assert "\x1b" not in page


def test_copies_are_found_once_with_the_first_path(
    root: Path, photos: Path, extract: Extract
) -> None:
    for name in ("copy.jpg", "0.jpg"):
        shutil.copy(photos / "red" / "003.jpg", photos / "red" / name)
    extract(photos)
    copied = similar(photos / "red" / "003.jpg", root=root, top=90).to_arrow().to_pylist()
    assert (copied[0]["path"], copied[0]["copies"]) == ("red/0.jpg", 2)
    assert len(copied) == 90
    assert sum(row["copies"] for row in copied) == 2


def test_several_datasets_are_ranked_together(
    root: Path, tmp_path: Path, put_photos: PutPhotos, extract: Extract
) -> None:
    put_photos(tmp_path / "more", "red", range(25, 50))
    put_photos(tmp_path / "more", "blue", range(5))
    extract(tmp_path / "more")
    query = tmp_path / "more" / "red" / "040.jpg"
    everywhere = similar(query, root=root, top=200)
    assert everywhere.to_arrow().slice(0, 1).to_pylist()[0]["dataset"] == "more"
    assert everywhere.n_compared == 110  # ten are in both
    both = similar(query, dataset=["photos", "more"], root=root, top=200).to_arrow()
    assert sorted(both.column("path").to_pylist()) == sorted(paths(everywhere))
    alone = similar(query, dataset="photos", root=root, top=200).to_arrow()
    assert set(alone.column("dataset").to_pylist()) == {"photos"}


def test_an_image_without_features_is_counted(root: Path, photos: Path, put_photos: Any) -> None:
    put_photos(photos, "red", range(30, 34))
    index_dataset(f"imagefolder:{photos}", root=root, data=root)
    result = similar(vector(1), dataset="photos", root=root, top=5)
    assert result.n_compared == 90
    assert result.notes[0].startswith("4 of 94 images of photos have no usable feature of ")


def test_a_dataset_without_features_is_named_only_if_it_was_asked_for(
    root: Path, tmp_path: Path, put_photos: PutPhotos
) -> None:
    for class_name in ("red", "blue"):
        put_photos(tmp_path / "other", class_name, range(60, 70))
    index_dataset(f"imagefolder:{tmp_path / 'other'}", root=root, data=root)
    (note,) = similar(vector(1), root=root).notes
    assert note.startswith("not searched, without features of ")
    assert note.endswith(": other")
    with pytest.raises(NotStoredError, match=r"features are stored for .* other: .*extract"):
        similar(vector(1), dataset="other", root=root)


def test_unknown_names_suggest_the_nearest(root: Path, tiny_model: str) -> None:
    with pytest.raises(NotStoredError, match="did you mean 'photos'"):
        similar(vector(1), dataset="photoz", root=root)
    with pytest.raises(UnknownNameError, match=r"unknown model .*: did you mean 'local-dir:"):
        similar(vector(1), model=f"{tiny_model}x", root=root)
    with pytest.raises(RunStoreError, match="no store at"):
        similar(vector(1), root=root / "nowhere")
    with pytest.raises(NotStoredError, match="no dataset is indexed"):
        similar(vector(1), root=root / "features")
    with pytest.raises(ParameterError, match="top is 0"):
        similar(vector(1), top=0, root=root)


def test_of_two_encoders_one_has_to_be_named_until_one_is_requested(
    root: Path, photos: Path, extract: Extract, tiny_model: str, other_tiny_model: str
) -> None:
    other = extract(photos, model=other_tiny_model)
    with pytest.raises(
        ParameterError, match=r"features of 2 encoders, .*: choose one with --model"
    ):
        similar(vector(1), root=root)
    for name in (other_tiny_model, other.encoder[:8], other.encoder):
        assert similar(vector(1), model=name, root=root).encoder == other.encoder
    for model in (tiny_model, other_tiny_model):
        extract_requested(f"imagefolder:{photos}", model, root=root)
    result = similar(vector(1), root=root)
    assert result.encoder == other.encoder
    assert "is the encoder that was requested last" in result.notes[0]
    assert f"features of {tiny_model}" in result.notes[0]
    assert similar(vector(1), model=tiny_model, root=root).notes == ()


def test_weights_that_changed_since_are_refused(
    root: Path, photos: Path, tiny_model: str, other_tiny_model: str, extract: Extract
) -> None:
    folder, other = (Path(each.partition(":")[2]) for each in (tiny_model, other_tiny_model))
    place = root.parent / "model"
    shutil.copytree(folder, place)
    extract(photos, model=f"local-dir:{place}", precision="bf16")
    shutil.copy(other / "open_clip_model.safetensors", place)
    with pytest.raises(EncoderError, match=r"is now encoder .* extract them again"):
        similar("a red square", model=f"local-dir:{place}", root=root)


@pytest.mark.usefixtures("no_encoder")
def test_imported_features_are_searched_by_what_is_stored(root: Path) -> None:
    random = np.random.default_rng(0)
    features = LabelledFeatures.from_arrays(
        source="x",
        features=random.normal(size=(36, 8)).astype(np.float16),
        labels=np.arange(36) % 3,
        class_names=["c", "b", "a"],
        splits=["train"] * 12 + ["val"] * 12 + ["test"] * 12,
        text_features=random.normal(size=(3, 8)).astype(np.float16),
        logit_scale=10.0,
    )
    classes = texts_of_file(features)
    import_features(root, features, name="flowers", label="theirs", texts=classes)
    opened = ImageSearch.open("features:flowers", root=root)
    assert opened.similar(features.features[5], top=1).to_arrow().column("cosine")[
        0
    ].as_py() == pytest.approx(1, abs=1e-6)
    with pytest.raises(EncoderError, match="were imported: no encoder is known"):
        opened.similar("a rose")


def test_a_store_that_cannot_be_written_is_searched_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(FeatureStore, "append_prompts", refuse)
    assert len(similar("a green square", root=root).to_arrow()) == 20
    assert "not kept for the next search: read-only" in capsys.readouterr().err


def test_a_damaged_file_of_features_ends_the_search(root: Path, encoded: EncodedDataset) -> None:
    (path,) = (root / "features" / encoded.encoder / "image").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match=path.name):
        similar(vector(1), root=root)


def test_the_sheet_shows_ranks_cosines_and_gaps(root: Path, photos: Path) -> None:
    result = similar(photos / "red" / "003.jpg", root=root, top=4)
    gone = paths(result)[2]
    (photos / gone).unlink()
    sheet = search_sheet(result)
    (row,) = sheet.rows
    assert [each.path for each in row.thumbnails] == paths(result)
    assert row.thumbnails[0].note.startswith("1. 1.0000, red, ")
    assert [each.gap for each in row.thumbnails] == ["", "", "the file does not exist", ""]
    assert (sheet.n_shown, sheet.n_gaps, sheet.source) == (3, 1, str(photos))
    page = html_of(sheet)
    assert page.count('src="data:image/png;base64,') == 3
    assert "4 of 90 images most like the image &#39;003.jpg&#39;" in page


def test_the_result_is_a_table_and_a_data_frame(root: Path) -> None:
    pytest.importorskip("pandas")
    result = similar(vector(1), root=root, top=3)
    columns = ["rank", "cosine", "path", "dataset", "class_name", "split", "copies", "image_sha256"]
    assert list(result.to_pandas().columns) == columns
    assert result.summary[0].startswith("3 of 90 images most like a feature of width 16, by ")
