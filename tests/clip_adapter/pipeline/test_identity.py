"""A dataset is its name, and its images decide whether a folder of that name is that dataset."""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import DatasetError, FolderOptions, ImageSource
from clip_adapter.datasets import index as index_module
from clip_adapter.images import FolderReader
from clip_adapter.pipeline.dataset_rewrite import rename_dataset
from clip_adapter.pipeline.identity import choose_name, expected_name, stored_name
from clip_adapter.pipeline.index import IndexedDataset, index_dataset, write_index
from clip_adapter.pipeline.reporter import Reporter
from feature_cache import CorruptFileError, IndexStore
from feature_cache.exchange import LabelledFeatures, import_features, texts_of_file

PutPhotos = Callable[..., Path]
Index = Callable[..., IndexedDataset]


class Lines(Reporter):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        """Keep a message."""
        self.lines.append(message)

    @property
    def moves(self) -> list[str]:
        """The messages about a dataset that was recognised."""
        return [line for line in self.lines if " is dataset " in line]


@pytest.fixture(name="reporter")
def _reporter() -> Lines:
    return Lines()


@pytest.fixture(name="index")
def _index(root: Path, reporter: Lines) -> Index:
    def run(
        folder: Path, name: str | None = None, class_names: Path | None = None
    ) -> IndexedDataset:
        return index_dataset(
            f"imagefolder:{folder}",
            root=root,
            data=root,
            options=FolderOptions(name=name, class_names=class_names),
            reporter=reporter,
        )

    return run


@pytest.fixture(name="put")
def _put(put_photos: PutPhotos) -> Callable[[Path, Iterable[int]], Path]:
    """Add photos to the two classes of a folder: two files a number."""

    def put(folder: Path, numbers: Iterable[int]) -> Path:
        numbers = list(numbers)
        for class_name in ("red", "blue"):
            put_photos(folder, class_name, numbers)
        return folder

    return put


def earlier_name(folder: Path) -> str:
    """The name that a folder without spaces had in earlier versions."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    return f"imagefolder-{folder.name}-{digest}"


def files_in(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def test_a_dataset_is_called_like_its_folder(index: Index, photos: Path) -> None:
    assert index(photos).name == "photos"


def test_a_moved_folder_is_the_same_dataset_in_the_same_state(
    index: Index, photos: Path, tmp_path: Path, reporter: Lines
) -> None:
    first = index(photos)
    (tmp_path / "elsewhere").mkdir()
    moved = photos.rename(tmp_path / "elsewhere" / "photos")
    again = index(moved)
    assert (again.name, again.index_fingerprint) == (first.name, first.index_fingerprint)
    assert reporter.moves == [f"{moved} is dataset photos, 90 of 90 images known"]
    index(moved)
    assert len(reporter.moves) == 1


def test_another_folder_of_the_name_must_be_named_and_nothing_is_written(
    index: Index, put: PutPhotos, tmp_path: Path, root: Path
) -> None:
    index(put(tmp_path / "a" / "photos", range(200)))
    other = put(tmp_path / "b" / "photos", range(198, 234))
    before = files_in(root)
    with pytest.raises(DatasetError) as refusal:
        index(other)
    assert str(refusal.value) == (
        f"folder {other} is called like dataset 'photos', but only 4 of its 72 images are among the "
        "400 of that dataset: it is another dataset; name it with --name, or write --name photos to "
        "go on with that dataset"
    )
    assert files_in(root) == before


def test_a_folder_that_was_given_a_name_keeps_it_where_it_lies(
    index: Index, put: PutPhotos, photos: Path, tmp_path: Path
) -> None:
    assert index(photos, name="holiday").name == "holiday"
    assert index(photos).name == "holiday"
    assert index(put(tmp_path / "elsewhere" / "photos", range(500, 600))).name == "photos"
    assert index(photos).name == "holiday"  # although another dataset is called like the folder


@pytest.mark.parametrize("name", ["photos", "others"])
def test_a_name_that_is_given_counts_whatever_the_images(
    index: Index, put: PutPhotos, tmp_path: Path, name: str
) -> None:
    index(put(tmp_path / "a" / "photos", range(20)))
    other = put(tmp_path / "b" / "photos", range(100, 120))
    assert index(other, name).name == name
    assert index(tmp_path / "a" / "photos").name == "photos"


@pytest.mark.parametrize("numbers", [range(200), range(2)])
def test_a_folder_that_grew_tenfold_or_was_thinned_out_is_the_same_dataset(
    index: Index, put: PutPhotos, tmp_path: Path, numbers: range
) -> None:
    index(put(tmp_path / "photos", range(20)))
    shutil.rmtree(tmp_path / "photos")
    assert index(put(tmp_path / "photos", numbers)).name == "photos"
    assert index(put(tmp_path / "photos", numbers)).n_images == 2 * len(numbers)


def test_a_folder_that_changed_night_by_night_is_known_by_all_images_that_it_had(
    index: Index, put: PutPhotos, tmp_path: Path
) -> None:
    for first in (0, 5, 10):
        shutil.rmtree(tmp_path / "photos", ignore_errors=True)
        index(put(tmp_path / "photos", range(first, first + 10)))
    shutil.rmtree(tmp_path / "photos")
    assert index(put(tmp_path / "photos", range(10))).name == "photos"


def test_a_path_that_was_indexed_before_keeps_its_dataset_whatever_it_holds_now(
    index: Index, put: PutPhotos, tmp_path: Path, reporter: Lines
) -> None:
    """Also where two such folders share a name."""
    folders = [tmp_path / place / "photos" for place in "ab"]
    for number, folder in enumerate(folders):
        index(put(folder, range(100 * number, 100 * number + 10)), earlier_name(folder))
    for number, folder in enumerate(folders):
        shutil.rmtree(folder)
        put(folder, range(100 * number + 50, 100 * number + 60))
        assert index(folder).name == earlier_name(folder)
    assert reporter.moves == []
    assert index(folders[0], "photos").name == "photos"


def test_a_folder_without_letters_keeps_the_dataset_of_its_path(
    index: Index, put: PutPhotos, tmp_path: Path
) -> None:
    folder = put(tmp_path / "写真", range(5))
    digest = earlier_name(folder).rpartition("-")[2]
    index(folder, f"imagefolder-{digest}")
    assert index(folder).name == f"imagefolder-{digest}"


@pytest.mark.parametrize("name", ["photos", "My Forêt_1"])
def test_a_moved_folder_of_an_earlier_version_is_recognised_by_its_images(
    index: Index, put: PutPhotos, tmp_path: Path, reporter: Lines, name: str
) -> None:
    words = {"photos": "photos", "My Forêt_1": "my-for-t-1"}[name]
    index(put(tmp_path / "a" / name, range(36)), f"imagefolder-{words}-1a2b3c4d")
    index(put(tmp_path / "c" / name, range(100, 120)), f"imagefolder-{words}-5e6f7a8b")
    (tmp_path / "b").mkdir()
    moved = (tmp_path / "a" / name).rename(tmp_path / "b" / name)
    assert index(moved).name == f"imagefolder-{words}-1a2b3c4d"
    (said,) = reporter.moves
    assert f"{moved} is dataset imagefolder-{words}-1a2b3c4d, 72 of 72 images known; `clip-" in said


def test_another_folder_than_that_of_an_earlier_version_must_be_named(
    index: Index, put: PutPhotos, tmp_path: Path
) -> None:
    index(put(tmp_path / "a" / "photos", range(10)), "imagefolder-photos-1a2b3c4d")
    with pytest.raises(DatasetError, match="write --name imagefolder-photos-1a2b3c4d to go on"):
        index(put(tmp_path / "b" / "photos", range(100, 110)))


def test_images_of_several_datasets_of_the_name_ask_which_is_meant(
    index: Index, put: PutPhotos, tmp_path: Path, root: Path
) -> None:
    folder = put(tmp_path / "photos", range(10))
    index(folder, "imagefolder-photos-1a2b3c4d")
    shutil.rmtree(folder / "blue")
    index(put(folder, range(8)), "photos")
    before = files_in(root)
    with pytest.raises(DatasetError, match=r"--name with the one to go on with") as refusal:
        index(put(folder, range(10)))
    assert "'imagefolder-photos-1a2b3c4d' (20 of 20 images) and 'photos' (18 of 20 images)" in str(
        refusal.value
    )
    assert files_in(root) == before


@pytest.mark.parametrize("name", ["digits", "eurosat", "features"])
def test_the_name_of_another_dataset_is_taken(
    index: Index, photos: Path, name: str, root: Path
) -> None:
    folder = photos.rename(photos.with_name(name))
    for asked in (None, name):
        with pytest.raises(DatasetError, match=f"'{name}' is the name of another dataset.*--name"):
            index(folder, asked)
    assert not root.exists()
    assert index(folder, "mine").name == "mine"


def test_a_folder_called_like_a_known_dataset_keeps_the_name_of_an_earlier_version(
    index: Index, photos: Path
) -> None:
    folder = photos.rename(photos.with_name("eurosat"))
    index(folder, "imagefolder-eurosat-1a2b3c4d")
    assert index(folder).name == "imagefolder-eurosat-1a2b3c4d"


def test_an_emptied_dataset_of_an_earlier_version_frees_no_name(
    index: Index, photos: Path, root: Path
) -> None:
    folder = photos.rename(photos.with_name("eurosat"))
    (root / "datasets" / "imagefolder-eurosat-1a2b3c4d").mkdir(parents=True)
    with pytest.raises(DatasetError, match="'eurosat' is the name of another dataset"):
        index(folder)


def test_the_name_of_imported_features_is_taken(index: Index, photos: Path, root: Path) -> None:
    import_as("photos", root)
    for asked in (None, "photos"):
        with pytest.raises(DatasetError, match="'photos' is the name of another dataset"):
            index(photos, asked)


def test_no_file_is_read_twice_and_no_known_image_is_decoded(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(photos, "imagefolder-photos-1a2b3c4d")
    (tmp_path / "elsewhere").mkdir()
    moved = photos.rename(tmp_path / "elsewhere" / "photos")
    read_by: list[str] = []
    read = FolderReader.read

    def noted(self: FolderReader, path: str) -> bytes:
        read_by.append(path)
        return read(self, path)

    monkeypatch.setattr(FolderReader, "read", noted)
    monkeypatch.setattr(index_module, "image_size", pytest.fail)
    assert index(moved).name == "imagefolder-photos-1a2b3c4d"
    assert sorted(read_by) == sorted(set(read_by))
    assert len(read_by) == 90


def test_a_damaged_index_of_the_name_leaves_the_name(
    index: Index, photos: Path, root: Path, reporter: Lines
) -> None:
    index(photos)
    damage_all(root / "datasets" / "photos")
    assert index(photos).name == "photos"
    assert "set aside" in " ".join(reporter.lines)


def test_a_damaged_index_that_might_be_that_of_the_folder_is_an_error(
    index: Index, photos: Path, root: Path
) -> None:
    index(photos, "imagefolder-photos-1a2b3c4d")
    damage_all(root / "datasets")
    before = files_in(root)
    with pytest.raises(CorruptFileError):
        index(photos)
    assert files_in(root) == before


NUMBERS = st.frozensets(st.integers(0, 15).map(lambda number: bytes([number]) * 32))


@given(folder=NUMBERS.filter(bool), known=NUMBERS.filter(bool))
def test_half_of_the_images_of_the_folder_are_enough(
    folder: frozenset[bytes], known: frozenset[bytes]
) -> None:
    """A store without indexes has no current state, so that only the folder's images count."""
    source = ImageSource("photos", Path("photos"), ("a",), ("{}",), files=())
    choose = partial(choose_name, source, folder, {"photos": known}, root=Path("nowhere"))
    if len(folder & known) / len(folder) >= 0.5:
        assert choose() == "photos"
    else:
        with pytest.raises(DatasetError, match="it is another dataset"):
            choose()


def test_the_name_is_expected_before_the_images_are_read(
    index: Index, photos: Path, root: Path
) -> None:
    expect = partial(expected_name, f"imagefolder:{photos}", root=root, data=root)
    assert expect() == "photos"
    index(photos, "imagefolder-photos-1a2b3c4d")
    assert expect() == "imagefolder-photos-1a2b3c4d"
    index(photos, "imagefolder-photos-5e6f7a8b")
    assert expect() == "photos"
    index(photos, earlier_name(photos))
    assert expect() == earlier_name(photos)
    assert expect(options=FolderOptions(name="cats")) == "cats"


def test_a_stored_dataset_that_is_typed_by_its_name_says_where_its_folder_is(
    index: Index, photos: Path, root: Path, tmp_path: Path
) -> None:
    index(photos, "cats")
    with pytest.raises(DatasetError, match=f"write imagefolder:{photos}$"):
        expected_name("cats", root=root, data=root)
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=f"imagefolder:PATH --name cats .* was {photos}$"):
        expected_name("cats", root=root, data=root)
    import_as("dogs", root)
    with pytest.raises(DatasetError, match="write features:dogs"):
        expected_name("dogs", root=root, data=root)


def test_a_folder_that_is_asked_about_is_the_dataset_that_was_read_from_it(
    index: Index, put: PutPhotos, tmp_path: Path, root: Path
) -> None:
    first, other = (put(tmp_path / place / "photos", [ord(place)]) for place in "ab")
    index(first)
    index(other, "others")
    assert stored_name(f"imagefolder:{first}", root=root) == "photos"
    assert stored_name(f"imagefolder:{other}", root=root) == "others"
    assert (
        stored_name("features:colours", root=root) == stored_name("colours", root=root) == "colours"
    )
    assert stored_name(f"imagefolder:{put(tmp_path / 'new', [1])}", root=root) == "new"
    index(first, "third")
    with pytest.raises(DatasetError, match="was indexed as 'photos' and 'third': write the name"):
        stored_name(f"imagefolder:{first}", root=root)


def damage_all(folder: Path) -> None:
    for path in folder.rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])


def import_as(name: str, root: Path) -> None:
    """Import features of six images of two classes."""
    rng = np.random.default_rng(0)
    features = LabelledFeatures.from_arrays(
        source="made here",
        features=rng.normal(size=(6, 8)).astype(np.float32),
        labels=np.array([0, 1] * 3),
        class_names=["a", "b"],
        splits=["train", "train", "val", "val", "test", "test"],
        text_features=rng.normal(size=(2, 8)).astype(np.float32),
        logit_scale=10.0,
    )
    import_features(root, features, name=name, label="made", texts=texts_of_file(features))


def test_a_renamed_dataset_goes_on_under_the_name_that_it_was_given_before(
    index: Index, put: PutPhotos, photos: Path, tmp_path: Path, root: Path
) -> None:
    first = index(photos, name="trip")
    rename_dataset(root, "trip", "holiday")
    again = index(photos, name="trip")
    assert (again.name, again.index_fingerprint) == ("holiday", first.index_fingerprint)
    other = put(tmp_path / "elsewhere" / "others", range(500, 560))
    assert index(other, name="trip").name == "trip"


def test_a_folder_is_the_same_place_however_its_path_is_written(index: Index, photos: Path) -> None:
    index(photos / ".." / photos.name, name="holiday")
    assert index(photos).name == "holiday"


def test_another_name_in_the_folder_than_in_the_store_is_reported_with_what_renames_it(
    index: Index, photos: Path, reporter: Lines
) -> None:
    index(photos)
    (photos / "dataset.yaml").write_text("name: holiday\n")
    assert index(photos).name == "photos"
    said = f"{photos} is dataset photos, 90 of 90 images known"
    rename = "`clip-adapter datasets rename photos holiday` calls it holiday"
    assert reporter.moves == [f"{said}; {rename}"]


@pytest.mark.parametrize(
    "names", [("AnnualCrop", "River"), ("Fore\u0302t", "Forz")], ids=["cleaned", "unicode"]
)
def test_classes_that_an_earlier_version_named_keep_their_names_and_labels(
    index: Index, put_photos: PutPhotos, tmp_path: Path, root: Path, names: tuple[str, str]
) -> None:
    folder = tmp_path / "photos"
    for name, colour in zip(names, ("red", "blue"), strict=True):
        put_photos(folder, name, range(20), colour=colour)
    made = index(folder).index
    labels = [names.index(path.split("/")[0]) for path in made.paths]  # in the order of bytes
    before = replace(
        made,
        source=replace(made.source, class_names=names, class_folders=names),
        labels=np.array(labels, dtype=np.int64),
    )
    assert before.fingerprint != made.fingerprint
    shutil.rmtree(root)
    write_index(IndexStore(root, "photos"), before)
    file = tmp_path / "names.csv"
    file.write_text(f"{names[0]},one\n{names[1]},two\n", encoding="utf-8")
    renamed = index(folder, class_names=file)
    assert renamed.class_names in {("one", "two"), ("two", "one")}
    assert index(folder).index_fingerprint == before.fingerprint


def test_the_folder_of_a_known_dataset_is_another_dataset_when_it_is_opened_as_ones_own(
    index: Index, photos: Path, root: Path
) -> None:
    made = index(photos).index
    shutil.rmtree(root)
    write_index(
        IndexStore(root, "eurosat"), replace(made, source=replace(made.source, name="eurosat"))
    )
    assert index(photos).name == "photos"


def test_no_move_is_reported_of_a_dataset_with_a_fixed_name(
    root: Path, tmp_path: Path, reporter: Lines
) -> None:
    index_dataset("digits", root=root, data=root, reporter=reporter)
    moved = root.rename(tmp_path / "elsewhere")
    index_dataset("digits", root=moved, data=moved, reporter=reporter)
    assert reporter.moves == []
