from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import DatasetError, FolderOptions, build_index
from clip_adapter.datasets.folder_walk import FolderWalk
from clip_adapter.datasets.imagefolder import open_imagefolder
from clip_adapter.images import ReadOptions

Put = Callable[[Path, int], Path]


@pytest.fixture(name="pets")
def _pets(tmp_path: Path, put: Put) -> Path:
    for number, path in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "fish/1.png")):
        put(tmp_path / "pets" / path, number)
    return tmp_path / "pets"


def below(pets: Path, path: str, **options: object) -> tuple[list[str], dict[str, str]]:
    walk = FolderWalk(pets, FolderOptions(**options))  # type: ignore[arg-type]
    return walk.files_below(path), {file.path: file.reason for file in walk.excluded}


def test_a_link_to_a_folder_inside_is_walked(pets: Path, put: Put) -> None:
    put(pets / "more" / "sub" / "3.png", 9)
    (pets / "cat" / "more").symlink_to("../more")

    assert below(pets, "cat") == (["cat/1.png", "cat/2.png", "cat/more/sub/3.png"], {})


def test_a_link_in_a_circle_is_counted_once(pets: Path) -> None:
    (pets / "cat" / "self").symlink_to(".")
    (pets / "cat" / "root").symlink_to(pets)

    assert below(pets, "cat") == (
        ["cat/1.png", "cat/2.png"],
        {"cat/root": "link in a circle", "cat/self": "link in a circle"},
    )


def test_links_that_meet_again_and_again_are_walked_once(pets: Path, put: Put) -> None:
    for level in range(20):  # a million paths
        (pets / "deep" / f"{level}").mkdir(parents=True)
        for name in ("x", "y"):
            (pets / "deep" / f"{level}" / name).symlink_to(f"../{level + 1}")
    put(pets / "deep" / "20" / "1.png", 9)
    (pets / "cat" / "deep").symlink_to("../deep/0")

    files, excluded = below(pets, "cat")

    assert [path.rpartition("/")[2] for path in files] == ["1.png", "2.png", "1.png"]
    assert list(excluded.values()) == ["folder linked twice"] * 20


def test_a_link_to_itself_is_a_file_that_cannot_be_read(pets: Path) -> None:
    (pets / "cat" / "loop").symlink_to("loop")

    assert below(pets, "cat") == (["cat/1.png", "cat/2.png", "cat/loop"], {})


def test_a_link_out_is_one_unreadable_file(pets: Path, put: Put) -> None:
    put(pets.parent / "outside" / "1.png", 4)
    (pets / "cat" / "more").symlink_to(pets.parent / "outside")

    index = build_index(open_imagefolder(pets), max_bad_fraction=0.5)

    assert [file.path for file in index.quarantined] == ["cat/more"]
    assert len(index) == 4


def test_a_class_folder_that_links_out_is_refused_by_name(pets: Path, put: Put) -> None:
    put(pets.parent / "outside" / "1.png", 4)
    (pets / "bird").symlink_to(pets.parent / "outside")

    with pytest.raises(DatasetError, match=r"no image of class 'bird'.*used: unreadable: "):
        build_index(open_imagefolder(pets), max_bad_fraction=0.5)


def test_a_split_folder_that_links_out_names_the_option(pets: Path, put: Put) -> None:
    put(pets.parent / "outside" / "cat" / "1.png", 4)
    (pets / "sets").mkdir()
    (pets / "sets" / "train").symlink_to(pets.parent / "outside")

    with pytest.raises(DatasetError, match=r"train is a link to .*--follow-links ROOT"):
        open_imagefolder(pets / "sets")


def test_a_link_below_the_folder_that_is_allowed_is_walked(pets: Path, put: Put) -> None:
    put(pets.parent / "shared" / "birds" / "1.png", 4)
    (pets / "bird").symlink_to(pets.parent / "shared" / "birds")
    read = ReadOptions(follow_links=pets.parent / "shared")

    assert below(pets, "bird", read=read) == (["bird/1.png"], {})


def test_a_folder_that_is_reached_again_from_outside_is_not_walked_again(
    pets: Path, put: Put
) -> None:
    put(pets.parent / "other" / "1.png", 4)
    (pets / "cat" / "up").symlink_to(pets.parent)
    read = ReadOptions(follow_links=pets.parent)

    assert below(pets, "cat", read=read) == (
        ["cat/1.png", "cat/2.png", "cat/up/other/1.png"],
        {"cat/up/pets": "link in a circle"},
    )


def test_names_that_are_not_utf_8_are_excluded_with_escapes(pets: Path) -> None:
    (pets / "cat" / ".\udcff").write_bytes(b"")

    assert below(pets, "cat")[1] == {"cat/.\\udcff": "hidden"}


def test_hidden_folders_are_counted_without_following_links(pets: Path) -> None:
    (pets / "cat" / ".cache" / "empty").mkdir(parents=True)
    (pets / "cat" / ".cache" / "dogs").symlink_to("../../dog")

    assert below(pets, "cat")[1] == {"cat/.cache/dogs": "hidden"}


@pytest.fixture(name="snapshot")
def _snapshot(tmp_path: Path, put: Put) -> Path:
    """A snapshot of a dataset as the hub of Hugging Face caches it: links to blobs."""
    snapshot = tmp_path / "datasets--me--pets" / "snapshots" / "5e1f"
    blobs = snapshot.parents[1] / "blobs"
    for number, name in enumerate(("cat", "cat", "dog", "dog")):
        put(blobs / f"{number}.png", number).rename(blobs / f"{number:064x}")
        (snapshot / "train" / name).mkdir(parents=True, exist_ok=True)
        (snapshot / "train" / name / f"{number}.png").symlink_to(f"../../../../blobs/{number:064x}")
    return snapshot


def test_a_snapshot_of_links_names_the_option_that_reads_it(snapshot: Path) -> None:
    blobs = snapshot.parents[1] / "blobs"

    with pytest.raises(
        DatasetError, match=rf"4 of the 4 files.*links {blobs}\)(?s:.*)--follow-links {blobs}"
    ):
        build_index(open_imagefolder(snapshot))

    read = ReadOptions(follow_links=blobs)
    index = build_index(open_imagefolder(snapshot, FolderOptions(read=read)))
    assert (len(index), index.quarantined, index.excluded) == (4, (), ())
