"""Predictions over files, folders, archives and lists, through the feature cache."""

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import clip_adapter
from clip_adapter.errors import DataError, ParameterError
from clip_adapter.pipeline import image_features
from clip_adapter.pipeline.load import load
from clip_adapter.pipeline.predict import Predictions, predict, schema
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import PromotionStore
from feature_cache import FeatureStore


@pytest.fixture(scope="session")
def champion_file(trained_digits: Path) -> Path:
    (file,) = (trained_digits / "champions" / "digits").glob("*.safetensors")
    return file


@pytest.fixture
def photos(trained_digits: Path, tmp_path: Path) -> Path:
    """Eight digits that no store has, in two folders, with what else lies among photos."""
    folder = tmp_path / "new photos"
    files = sorted((trained_digits / "images" / "digits").rglob("*.png"))[5::200][:8]
    for number, file in enumerate(files):
        place = folder / ("first" if number < 4 else "second")
        place.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("RGB").resize((40, 40)).save(place / f"{number}.jpg", quality=95)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(b"hidden")
    return folder


@pytest.fixture
def ask(champion_file: Path, tmp_path: Path) -> Callable[..., Predictions]:
    def run(*inputs: Path | str, **options: object) -> Predictions:
        given = {"root": tmp_path / "store", **options}
        return predict(champion_file, list(inputs), **given)  # type: ignore[arg-type]

    return run


Ask = Callable[..., Predictions]


def paths(result: Predictions) -> list[str]:
    found: list[str] = result.to_arrow()["path"].to_pylist()
    return found


def test_a_second_pass_encodes_nothing(
    ask: Ask, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(photos)
    assert (first.n_encoded, first.n_reused, first.n_unreadable, first.n_excluded) == (8, 0, 0, 2)
    monkeypatch.setattr(
        "clip_adapter.encoders.load_encoder", lambda *_, **__: pytest.fail("loaded")
    )
    again = ask(photos)
    assert (again.n_encoded, again.n_reused) == (0, 8)
    assert again.to_arrow().equals(first.to_arrow())


def test_the_features_are_in_the_store_and_its_encoder_described(
    ask: Ask, photos: Path, tmp_path: Path, champion_file: Path
) -> None:
    ask(photos)
    store = FeatureStore(tmp_path / "store", load(champion_file).saved.encoder)
    assert store.statistics().n_images == 8
    assert store.description()["model"] == "glyphs"


def test_without_the_cache_there_is_no_trace(ask: Ask, photos: Path, tmp_path: Path) -> None:
    kept = ask(photos)
    shutil.rmtree(tmp_path / "store")
    free = ask(photos, cache=False)
    assert (free.n_encoded, free.n_reused) == (8, 0)
    assert not (tmp_path / "store").exists()
    assert free.to_arrow().equals(kept.to_arrow())


def test_predictions_are_those_of_the_classifier(
    ask: Ask, photos: Path, champion_file: Path
) -> None:
    found = ask(photos, top=3).to_arrow()
    classifier = load(champion_file)
    probabilities = classifier.predict_proba(found["path"].to_pylist())
    assert found["predicted"].to_pylist() == classifier.predict(found["path"].to_pylist()).tolist()
    order = np.argsort(-probabilities, axis=1)
    for rank, end in enumerate(["", "_2", "_3"]):
        names = [classifier.class_names[label] for label in order[:, rank]]
        assert found[f"predicted{end}"].to_pylist() == names
        np.testing.assert_allclose(
            found[f"confidence{end}"].to_numpy(),
            np.take_along_axis(probabilities, order, axis=1)[:, rank],
            atol=1e-5,
        )


def test_sets_of_a_stated_coverage_are_those_of_the_classifier_and_of_the_run(
    ask: Ask, photos: Path, champion_file: Path, trained_digits: Path
) -> None:
    found = ask(photos, coverage=0.7).to_arrow()
    classifier = load(champion_file)
    sets = classifier.prediction_sets(found["path"].to_pylist(), coverage=0.7)
    names = np.array(classifier.class_names)
    assert [set(each) for each in found["prediction_set"].to_pylist()] == [
        set(names[row]) for row in sets
    ]
    run_id = PromotionStore(trained_digits).history("digits")[-1].run_id
    refitted = load(f"run:{run_id}", root=trained_digits).saved.require_calibration()
    np.testing.assert_array_equal(
        refitted.label_probabilities, classifier.saved.require_calibration().label_probabilities
    )


def test_the_order_is_that_of_the_input(ask: Ask, photos: Path) -> None:
    files = [photos / "second" / "6.jpg", photos / "first" / "1.jpg", photos / "second" / "6.jpg"]
    result = ask(*files, photos / "first")
    assert paths(result) == [*map(str, files), *(f"{photos}/first/{n}.jpg" for n in range(4))]
    assert (result.n_encoded, result.n_reused) == (5, 0)


def test_small_batches_change_nothing(
    ask: Ask, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(photos, cache=False)
    monkeypatch.setattr(image_features, "IMAGES_AT_ONCE", 3)
    by_three = ask(photos, cache=False)
    monkeypatch.setattr(image_features, "BYTES_AT_ONCE", 1)
    for other in (by_three, ask(photos)):
        found, expected = other.to_arrow(), whole.to_arrow()
        assert found["path"].equals(expected["path"])
        assert found["predicted"].to_pylist() == expected["predicted"].to_pylist()
        # A matrix product of another size may round otherwise.
        np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-5)


def test_patterns_are_sorted(ask: Ask, photos: Path) -> None:
    assert paths(ask(f"{photos}/*/[15].jpg")) == [
        f"{photos}/first/1.jpg",
        f"{photos}/second/5.jpg",
    ]
    assert len(paths(ask(f"{photos}/**/*.jpg"))) == 8


def test_a_list_has_a_row_for_what_is_missing(ask: Ask, photos: Path) -> None:
    listed = [f"{photos}/first/1.jpg", f"{photos}/gone.jpg", "", f"{photos}/second/7.jpg"]
    result = ask("-", listed=listed)
    errors = result.to_arrow()["error"].to_pylist()
    assert [error is None for error in errors] == [True, False, False, True]
    assert result.n_unreadable == 2


def test_an_unreadable_image_is_a_row(ask: Ask, photos: Path) -> None:
    (photos / "first" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (photos / "first" / "empty.jpg").write_bytes(b"")
    row = {each["path"]: each for each in ask(photos).to_arrow().to_pylist()}
    broken = row[f"{photos}/first/broken.png"]
    assert (broken["predicted"], broken["confidence"]) == (None, None)
    assert "broken" in broken["error"]
    assert row[f"{photos}/first/empty.jpg"]["error"] == "the file is empty"
    assert sum(each["error"] is None for each in row.values()) == 8


def test_only_unreadable_images_load_no_encoder(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    monkeypatch.setattr(
        "clip_adapter.encoders.load_encoder", lambda *_, **__: pytest.fail("loaded")
    )
    assert ask(tmp_path / "broken.png").n_unreadable == 1


def make_tar(path: Path, photos: Path, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in sorted(photos.rglob("*.*")):
            archive.add(file, arcname=str(file.relative_to(photos)))
        broken = tarfile.TarInfo("z.jpg")
        broken.size = 5
        archive.addfile(broken, io.BytesIO(b"12345"))
        outside = tarfile.TarInfo("link.jpg")
        outside.type, outside.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(outside)


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz")])
def test_an_archive_is_read_as_it_is(
    ask: Ask, photos: Path, tmp_path: Path, name: str, mode: str
) -> None:
    make_tar(tmp_path / name, photos, mode)
    result = ask(tmp_path / name)
    whole = ask(photos)
    assert len(paths(result)) == 9
    assert paths(result)[0] == f"{tmp_path}/{name}/first/0.jpg"
    assert (
        result.to_arrow()["predicted"].to_pylist()[:8] == whole.to_arrow()["predicted"].to_pylist()
    )
    assert whole.n_encoded == 0
    assert result.n_unreadable == 1
    assert not list(tmp_path.glob("link*"))


def test_a_damaged_archive_is_read_up_to_there(ask: Ask, photos: Path, tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar.gz", photos, "w:gz")
    whole = (tmp_path / "a.tar.gz").read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    result = ask(cut)
    rows, expected = result.to_arrow().to_pylist(), ask(tmp_path / "a.tar.gz").to_arrow()
    n_read = sum(row["error"] is None for row in rows)
    assert 0 < n_read < 8
    read = [row["predicted"] for row in rows[:n_read]]
    assert read == expected["predicted"].to_pylist()[:n_read]
    assert rows[-1]["path"] == str(cut)
    assert f"the archive is damaged after {n_read} images" in rows[-1]["error"]
    assert (result.n_damaged, result.n_images) == (1, len(rows) - 1)
    assert "1 archives are damaged" in result.summary


def test_an_archive_of_which_nothing_can_be_read_is_an_error(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "none.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match=r"none.tar is damaged or no tar archive: .*"):
        ask(tmp_path / "none.tar")


def test_below_the_confidence_there_is_no_class(ask: Ask, photos: Path) -> None:
    free = ask(photos).to_arrow().to_pylist()
    least = sorted(row["confidence"] for row in free)[3] + 1e-6
    told = ask(photos, min_confidence=least, top=2).to_arrow().to_pylist()
    assert [row["confidence"] for row in told] == [row["confidence"] for row in free]
    for row, before in zip(told, free, strict=True):
        is_told = before["confidence"] >= least
        assert row["predicted"] == (before["predicted"] if is_told else None)
        assert (row["predicted_2"] is None) == (not is_told)
    assert sum(row["predicted"] is None for row in told) == 4


def test_links_do_not_lead_out_of_a_folder(ask: Ask, photos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(photos / "first" / "0.jpg", elsewhere / "0.jpg")
    (photos / "first" / "0.jpg").symlink_to(elsewhere / "0.jpg")
    row = ask(photos).to_arrow().to_pylist()[0]
    assert "leads out of the folder" in row["error"]
    assert ask(photos, follow_links=elsewhere).n_unreadable == 0
    # A link that the user names is the image.
    assert ask(photos / "first" / "0.jpg").n_unreadable == 0


def test_more_classes_than_there_are_is_all(ask: Ask, photos: Path) -> None:
    assert ask(photos / "first", top=1000).to_arrow().num_columns == 2 + 2 * 10


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        (["nowhere.jpg"], {}, FileNotFoundError, "there is no 'nowhere.jpg'"),
        (["no*where.jpg"], {}, FileNotFoundError, "no file matches"),
        (["{empty}"], {}, DataError, "no image among"),
        ([], {}, ParameterError, "inputs"),
        (["{empty}"], {"top": 0}, ParameterError, "top is 0"),
        (["{empty}"], {"min_confidence": 2}, ParameterError, "min_confidence is 2"),
    ],
)
def test_bad_requests_leave_nothing(  # noqa: PLR0917  # parameters of a test
    ask: Ask,
    tmp_path: Path,
    inputs: list[str],
    options: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("text")
    given = [each.format(empty=tmp_path / "empty") for each in inputs]
    with pytest.raises(error, match=words):
        ask(*given, **options)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_name_that_is_no_unicode_is_shown(ask: Ask, photos: Path) -> None:
    (photos / "first" / "0.jpg").rename(photos / "first" / "a\udcff.jpg")
    result = ask(photos / "first", cache=False)
    assert r"a\udcff.jpg" in paths(result)[-1]
    assert result.to_arrow()["error"][-1].as_py() is not None or result.n_unreadable == 0


def test_a_notebook_shows_the_images_with_their_classes(ask: Ask, photos: Path) -> None:
    (photos / "first" / "<b>.jpg").write_bytes(b"broken")
    page = ask(photos)._repr_html_()
    assert page.count("<img ") == 8
    assert "&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    assert "9 images classified by gda of digits: 8 encoded" in page


def test_progress_is_told(champion_file: Path, photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []

    class Told(Reporter):
        def log(self, message: str) -> None:
            lines.append(message)

    clip_adapter.predict(champion_file, photos, root=tmp_path / "store", reporter=Told())
    assert any(line.startswith("predicting: done") for line in lines)


def test_the_table_has_the_same_columns_for_no_readable_image(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert ask(tmp_path / "a.png", top=2).to_arrow().schema == schema(2)
    assert schema(2).field("confidence_2").type == pa.float32()
    found = ask(tmp_path / "a.png", coverage=0.8).to_arrow()
    assert found.schema == schema(1, has_sets=True)
    assert found["prediction_set"].to_pylist() == [None]
