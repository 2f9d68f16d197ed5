"""The datasets of the paper: what their descriptions say, and that their published files agree."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import (
    PROMPT_STYLES,
    DatasetDescription,
    DatasetError,
    FoundDataset,
    ImageSource,
    canonical_name,
    describe,
    find_described,
    known_names,
    open_dataset,
    open_described,
    templates_of,
)
from clip_adapter.datasets.descriptions import read_description
from clip_adapter.images import ReadOptions

Put = Callable[[Path, int], Path]

ELEVEN = {
    # train, val and test images, classes, template
    "imagenet": (1_281_167, 0, 50_000, 1000, "a photo of a {}."),
    "caltech-101": (4128, 1649, 2465, 100, "a photo of a {}."),
    "oxford-pets": (2944, 736, 3669, 37, "a photo of a {}, a type of pet."),
    "stanford-cars": (6509, 1635, 8041, 196, "a photo of a {}."),
    "oxford-flowers": (4093, 1633, 2463, 102, "a photo of a {}, a type of flower."),
    "food-101": (50_500, 20_200, 30_300, 101, "a photo of {}, a type of food."),
    "fgvc-aircraft": (3334, 3333, 3333, 100, "a photo of a {}, a type of aircraft."),
    "sun397": (15_880, 3970, 19_850, 397, "a photo of a {}."),
    "dtd": (2820, 1128, 1692, 47, "{} texture."),
    "eurosat": (13_500, 5400, 8100, 10, "a centered satellite photo of {}."),
    "ucf101": (7639, 1898, 3783, 101, "a photo of a person doing {}."),
}
TARGETS = {
    "imagenet-v2": (10_000, 1000),
    "imagenet-sketch": (50_889, 1000),
    "imagenet-a": (7500, 200),
    "imagenet-r": (30_000, 200),
}
FIRST_AND_LAST = {
    "imagenet": ("tench", "toilet paper"),
    "caltech-101": ("face", "yin yang"),
    "oxford-pets": ("abyssinian", "yorkshire terrier"),
    "stanford-cars": ("2000 AM General Hummer SUV", "2012 smart fortwo Convertible"),
    "oxford-flowers": ("pink primrose", "blackberry lily"),
    "food-101": ("apple pie", "waffles"),
    "dtd": ("banded", "zigzagged"),
    "eurosat": ("Annual Crop Land", "Sea or Lake"),
    "ucf101": ("Apply Eye Makeup", "Yo Yo"),
}
PUBLISHED = [
    each for each in ELEVEN if describe(each).split_file and each not in {"food-101", "sun397"}
]


def published_split(described: DatasetDescription) -> Path:
    folder = os.environ.get("CLIP_ADAPTER_TEST_DATA")
    path = Path(folder or "", "splits", described.split_file or "")
    if folder is None or not path.is_file():
        pytest.skip(f"CLIP_ADAPTER_TEST_DATA names no folder with splits/{described.split_file}")
    return path


def split_file(folder: Path, name: str, rows: dict[str, list[list[object]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"train": [], "val": [], "test": []} | rows
    (folder / name).write_text(json.dumps(document), encoding="utf-8")


def opened(name: str, data: Path) -> ImageSource:
    return open_dataset(name, data=data)


def listed(source: ImageSource) -> set[tuple[str, int, str | None]]:
    return {(file.path, file.label, file.split) for file in source.files}


# What the descriptions say


def test_the_eleven_datasets_and_the_four_targets_are_known() -> None:
    assert set(known_names()) >= ELEVEN.keys() | TARGETS.keys()


@pytest.mark.parametrize("name", ELEVEN)
def test_a_description_has_the_published_counts_classes_and_template(name: str) -> None:
    described = describe(name)
    train, val, test, n_classes, template = ELEVEN[name]
    counts = Counter(described.counts)
    assert (counts["train"], counts["val"], counts["test"]) == (train, val, test)
    assert described.n_classes == n_classes
    assert described.templates == templates_of(name) == (template,)
    assert described.licence
    assert described.citation
    assert described.downloads or described.steps


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_has_test_images_alone_and_the_names_of_imagenet(name: str) -> None:
    described = describe(name)
    assert described.test_only
    assert described.counts == {"test": TARGETS[name][0]}
    assert described.n_classes == TARGETS[name][1]
    assert described.class_names == describe("imagenet").class_names
    assert described.templates == PROMPT_STYLES["photo"]


@pytest.mark.parametrize("name", FIRST_AND_LAST)
def test_classes_are_named_as_they_are_prompted(name: str) -> None:
    names = describe(name).class_names
    assert (names[0], names[-1]) == FIRST_AND_LAST[name]
    assert len(set(names)) == len(names) == describe(name).n_classes
    assert not any("_" in each for each in names)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("oxford_pets", "oxford-pets"),
        ("fgvc_aircraft", "fgvc-aircraft"),
        ("food101", "food-101"),
        ("caltech101", "caltech-101"),
        ("imagenetv2", "imagenet-v2"),
        ("imagenet_a", "imagenet-a"),
        ("sun397", "sun397"),
        ("my_pets", "my_pets"),
        ("EuroSAT", "EuroSAT"),
    ],
)
def test_the_spellings_of_the_field_are_understood(spelling: str, name: str) -> None:
    assert canonical_name(spelling) == name


# Their published files


@pytest.mark.shared_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_split_has_the_counts_names_and_order_of_its_description(
    name: str, tmp_path: Path, put: Put
) -> None:
    described = describe(name)
    published = published_split(described)
    folder = tmp_path / described.folders[0]
    folder.mkdir()
    (folder / published.name).symlink_to(published)
    rows = find_described(described, folder).rows
    place = folder / described.images[0]
    for file, _ in described.classes if described.class_folders == "yes" else ():
        (place / file).mkdir(parents=True)
    put(place / rows[0].path, 1)  # enough to know the folder by

    source = opened(name, tmp_path)

    counts = Counter(file.split for file in source.files)
    assert (counts["train"], counts["val"], counts["test"]) == ELEVEN[name][:3]
    assert source.class_names == described.class_names
    document = json.loads(published.read_text())
    told = {label: text for part in document.values() for _, label, text in part}
    assert source.class_names == tuple(told[label].replace("_", " ") for label in sorted(told))
    assert [file.path for file in source.files] == [
        path for part in ("train", "val", "test") for path, _, _ in document[part]
    ]
    assert source.notes == ()


@pytest.mark.shared_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_split_is_the_one_that_is_downloaded(name: str) -> None:
    described = describe(name)
    published = published_split(described)
    (download,) = (each for each in described.downloads if each.file_name == described.split_file)
    assert hashlib.sha256(published.read_bytes()).hexdigest() == download.digest
    assert published.stat().st_size < download.max_mb * 10**6


# Small folders in the real layouts


@pytest.mark.parametrize("name", ["caltech-101", "dtd", "food-101", "eurosat", "ucf101"])
def test_class_folders_with_a_split_file(name: str, tmp_path: Path, put: Put) -> None:
    described = describe(name)
    folder = tmp_path / described.folders[0]
    rows = {}
    for number, split in enumerate(("train", "val", "test")):
        rows[split] = [
            [f"{each}/{split}.jpg", label, class_name]
            for label, (each, class_name) in enumerate(described.classes)
        ]
        for path, label, _ in rows[split]:
            put(folder / described.images[0] / str(path), 3 * label + number)
    put(folder / described.images[0] / described.classes[0][0] / "unlisted.jpg", 7)
    split_file(folder, str(described.split_file), rows)

    source = opened(name, tmp_path)

    assert source.folder == folder / described.images[0]
    assert source.class_names == described.class_names
    assert listed(source) == {
        (path, label, split) for split, part in rows.items() for path, label, _ in part
    }
    assert [each.reason for each in source.excluded] == ["not in the split file"]
    assert any("as published, and" in note for note in source.notes)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("oxford-pets", "{name}_{number}.jpg"),
        ("oxford-flowers", "image_{number:05d}.jpg"),
        ("stanford-cars", "cars_{split}/{number:05d}.jpg"),
    ],
)
def test_images_that_only_a_split_file_labels(
    name: str, form: str, tmp_path: Path, put: Put
) -> None:
    described = describe(name)
    folder = tmp_path / described.folders[0]
    place = folder / described.images[0]
    rows: dict[str, list[list[object]]] = {"train": [], "test": []}
    for label, class_name in enumerate(described.class_names):
        for number, split in enumerate(rows, start=2 * label):
            written = class_name.replace(" ", "_")
            path = form.format(name=written.replace("/", "-"), number=number, split=split)
            rows[split].append([path, label, written])
    put(place / str(rows["train"][0][0]), 1)
    with pytest.raises(DatasetError, match=rf"{described.split_file}.*datasets fetch {name}"):
        opened(name, tmp_path)
    split_file(folder, str(described.split_file), rows)

    source = opened(name, tmp_path)

    assert source.class_names == described.class_names
    assert Counter(file.split for file in source.files) == {
        "train": described.n_classes,
        "test": described.n_classes,
    }


@pytest.mark.parametrize("name", ["dtd", "food-101"])
def test_lists_of_the_dataset_itself_divide_it_where_no_split_file_is(
    name: str, tmp_path: Path, put: Put
) -> None:
    described = describe(name)
    folder = tmp_path / described.folders[0]
    place = folder / described.images[1]  # as its archive unpacks in that folder
    for each, _ in described.classes:
        for split in described.lists:
            put(place / each / f"{split}.jpg", 1)
    for split, list_name in described.lists.items():
        lines = [f"{each}/{split}" for each, _ in described.classes]
        file = place.parent / list_name
        file.parent.mkdir(exist_ok=True)
        suffix = "" if described.list_path == "{}.jpg" else ".jpg"
        file.write_text("".join(f"{line}{suffix}\n" for line in lines))

    source = opened(name, tmp_path)

    assert source.folder == place
    assert listed(source) == {
        (f"{each}/{split}.jpg", label, split)
        for label, (each, _) in enumerate(described.classes)
        for split in described.lists
    }
    (note,) = source.notes
    assert f"without {described.split_file}" in note
    assert "do not compare" in note


def test_the_lists_of_aircraft_are_the_published_split(tmp_path: Path, put: Put) -> None:
    folder = tmp_path / "fgvc_aircraft"
    variants = [f"A3{number:02d}" for number in range(98)] + ["707-320", "F-16A/B"]
    folder.mkdir()
    (folder / "variants.txt").write_text("\n".join(variants) + "\n")
    for number, split in enumerate(("train", "val", "test")):
        lines = [f"{number}{label:06d} {each}" for label, each in enumerate(variants)]
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines))
    put(folder / "images" / "0000000.jpg", 1)

    source = opened("fgvc_aircraft", tmp_path)

    assert source.name == "fgvc-aircraft"
    assert source.class_names == tuple(variants)
    assert ("2000099.jpg", 99, "test") in listed(source)
    (note,) = source.notes
    assert note.startswith(
        "FGVCAircraft has 3,334 train, 3,333 val, 3,333 test images as published"
    )


def test_scenes_are_named_by_their_folders_from_last_to_first(tmp_path: Path, put: Put) -> None:
    folder = tmp_path / "sun397"
    classes = ["/a/abbey", "/a/airplane_cabin", "/c/church/indoor"]
    for name, text in {
        "SUN397/ClassName.txt": "\n".join(classes),
        "Training_01.txt": "\n".join(f"{each}/sun_1.jpg" for each in classes),
        "Testing_01.txt": "\n".join(f"{each}/sun_2.jpg" for each in classes),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    put(folder / "SUN397" / "a" / "abbey" / "sun_1.jpg", 1)

    source = opened("sun397", tmp_path)

    assert source.class_names == ("abbey", "airplane cabin", "indoor church")
    assert ("c/church/indoor/sun_2.jpg", 2, "test") in listed(source)
    assert "SUN397 has 397 classes as published, and 3 here" in source.notes

    rows = [["c/church/indoor/sun_1.jpg", 0, "indoor church"], ["a/abbey/sun_1.jpg", 1, "abbey"]]
    split_file(folder, "split_zhou_SUN397.json", {"train": [*rows]})
    assert opened("sun397", tmp_path).class_names == ("indoor church", "abbey")


@pytest.mark.parametrize("inner", ["images", ""])
def test_imagenet_tests_on_its_validation_images(inner: str, tmp_path: Path) -> None:
    described = describe("imagenet")
    folder = tmp_path / "imagenet" / inner
    for split in ("train", "val"):
        for wnid, _ in described.classes:
            (folder / split / wnid).mkdir(parents=True)
            (folder / split / wnid / "1.JPEG").touch()

    source = opened("imagenet", tmp_path)

    assert source.class_names == described.class_names
    assert ("train/n01440764/1.JPEG", 0, "train") in listed(source)
    assert ("val/n15075141/1.JPEG", 999, "test") in listed(source)
    assert {file.split for file in source.files} == {"train", "test"}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_opened_for_tests(name: str, tmp_path: Path) -> None:
    described = describe(name)
    place = tmp_path / described.folders[0] / described.images[0]
    classes = described.classes[:: len(described.classes) // described.n_classes]
    for folder, _ in classes:
        (place / folder).mkdir(parents=True)
        (place / folder / "1.jpeg").touch()

    source = opened(name, tmp_path)

    assert source.class_names == tuple(class_name for _, class_name in classes)
    assert listed(source) == {
        (f"{folder}/1.jpeg", label, "test") for label, (folder, _) in enumerate(classes)
    }


def test_frames_of_videos_are_not_divided_without_the_published_split(
    tmp_path: Path, put: Put
) -> None:
    for number, (folder, _) in enumerate(describe("ucf101").classes):
        put(tmp_path / "ucf101" / "UCF-101-midframes" / folder / "1.jpg", number)
    with pytest.raises(DatasetError, match=r"no split_zhou_UCF101.json, without which .*fetch"):
        opened("ucf101", tmp_path)


def test_torchvisions_folders_are_found(tmp_path: Path, put: Put) -> None:
    described = describe("oxford-pets")
    rows = [[f"{label}.jpg", label, name] for label, name in enumerate(described.class_names)]
    put(tmp_path / "oxford-iiit-pet" / "images" / "0.jpg", 1)
    split_file(tmp_path / "oxford-iiit-pet", "split_zhou_OxfordPets.json", {"train": rows})
    assert opened("oxford_pets", tmp_path).folder == tmp_path / "oxford-iiit-pet" / "images"


def test_a_split_folder_that_is_a_link_out_is_named(tmp_path: Path) -> None:
    described = describe("imagenet")
    for split in ("train", "val"):
        for wnid, _ in described.classes:
            (tmp_path / "disk" / split / wnid).mkdir(parents=True)
            (tmp_path / "disk" / split / wnid / "1.JPEG").touch()
    place = tmp_path / "imagenet" / "images"
    place.mkdir(parents=True)
    for split in ("train", "val"):
        (place / split).symlink_to(tmp_path / "disk" / split)

    with pytest.raises(DatasetError, match=r"train is a link to .*--follow-links ROOT"):
        open_described(described, tmp_path / "imagenet")

    read = ReadOptions(follow_links=tmp_path / "disk")
    assert len(open_described(described, tmp_path / "imagenet", read).files) == 2000


HOSTILE = {
    "path out": (["../../secret.jpg", 0, "abyssinian"], "stays in the folder"),
    "absolute path": (["/etc/passwd", 0, "abyssinian"], "stays in the folder"),
    "huge label": (["1.jpg", 10**12, "abyssinian"], r"\(1000000000000, 'abyssinian'\), expected"),
    "long name": (["a" * 10_000, 0, "abyssinian"], "lists no image of class 'american bulldog'"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_split_file_is_one_clear_error(tmp_path: Path, what: str) -> None:
    row, message = HOSTILE[what]
    folder = tmp_path / "oxford_pets"
    (folder / "images").mkdir(parents=True)
    split_file(folder, "split_zhou_OxfordPets.json", {"train": [row]})
    with pytest.raises(DatasetError, match=message) as raised:
        opened("oxford_pets", tmp_path)
    assert len(str(raised.value)) < 1000


def test_a_label_without_an_image_before_it_is_refused(tmp_path: Path) -> None:
    rows: list[list[object]] = [["a/1.jpg", 0, "a"], ["b/1.jpg", 10**12, "b"]]
    split_file(tmp_path / "sun397", "split_zhou_SUN397.json", {"train": rows})
    with pytest.raises(DatasetError, match="lists no image of class 'number 1'"):
        opened("sun397", tmp_path)


def test_a_listed_name_that_is_longer_than_names_can_be_is_looked_for(tmp_path: Path) -> None:
    described = describe("oxford-pets")
    rows: list[list[object]] = [
        [f"{label}.jpg" if label else "a" * 10_000, label, name]
        for label, name in enumerate(described.class_names)
    ]
    split_file(tmp_path / "oxford_pets", "split_zhou_OxfordPets.json", {"train": rows})
    with pytest.raises(DatasetError, match="OxfordPets was not found") as raised:
        opened("oxford_pets", tmp_path)
    assert len(str(raised.value)) < 2000


def test_a_list_that_leads_out_of_the_folder_is_refused(tmp_path: Path, put: Put) -> None:
    described = describe("dtd")
    for each, _ in described.classes:
        put(tmp_path / "dtd" / "images" / each / "1.jpg", 1)
    (tmp_path / "dtd" / "labels").mkdir()
    for list_name in described.lists.values():
        (tmp_path / "dtd" / list_name).write_text("../../secret.jpg\n")
    with pytest.raises(DatasetError, match=r"train1.txt: train\[0\] has the path '../../secret"):
        opened("dtd", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("folderz: [x]", "unknown key 'folderz': did you mean 'folders'"),
        ("counts: {train: many}", "found 'many', expected a whole number"),
        ("images: [../elsewhere]", "has the path '../elsewhere'; expected one inside"),
        ("class_folders: perhaps", "is 'perhaps'; expected no, yes, numbers"),
        ('templates: ["a photo"]', "has 0 places for the class name"),
        ("classes: [cat, cat]", "'cat' comes twice"),
        ("downloads: [{url: 'file:///etc/passwd', max_mb: 1}]", "expected http:// or https://"),
        ("downloads: [{url: 'https://a/b', max_mb: 1, md5: abc}]", "expected hexadecimal digits"),
        ("downloads: [{url: 'https://a/b/', max_mb: 1}]", "'https://a/b/'; expected one that ends"),
        (
            "downloads: [{url: 'https://a/complete', max_mb: 1}]",
            "expected one that ends in the name",
        ),
        ("downloads: [{url: 'https://a/..?b', max_mb: 1}]", "expected one that ends in the name"),
        ("downloads: [{url: 'https://a/b%2Fc', max_mb: 1}]", "expected one that ends in the name"),
        (
            "downloads: [{url: 'https://a/b.zip', max_mb: 1}, {url: 'https://c/B.zip', max_mb: 1}]",
            "two downloads called 'b.zip'",
        ),
        (
            "downloads: [{url: 'https://a/b.zip', max_mb: 1, inner: ../c.zip}]",
            "'../c.zip'; expected the name of an archive",
        ),
        (
            "downloads: [{url: 'https://a/b.zip', max_mb: 1, inner: '*.zip'}]",
            "expected the name of an archive",
        ),
        ("split_file: ''", "does not say which image has which class"),
    ],
)
def test_a_wrong_description_is_refused_with_what_to_change(
    tmp_path: Path, line: str, message: str
) -> None:
    lines = {
        "title": "title: Cats",
        "what": "what: photos",
        "folders": "folders: [cats]",
        "templates": 'templates: ["a {}."]',
        "split_file": "split_file: split.json",
        "classes": "classes: [cat, dog]",
        line.partition(":")[0]: line,
    }
    file = tmp_path / "cats.yaml"
    file.write_text("\n".join(lines.values()))
    with pytest.raises(DatasetError, match=message):
        read_description(file)


@pytest.mark.parametrize(
    ("name", "lists", "images", "expected"),
    [
        # has_split_file, has_published_splits, is_present
        ("dtd", ["split_zhou_DescribableTextures.json"], "images", (True, True, True)),
        ("dtd", ["train1.txt", "val1.txt", "test1.txt"], "images", (False, False, True)),
        ("dtd", [], "images", (False, False, True)),
        ("dtd", ["split_zhou_DescribableTextures.json"], None, (True, True, False)),
        ("ucf101", [], "images", (False, False, False)),
        ("ucf101", ["split_zhou_UCF101.json"], "images", (True, True, True)),
        ("fgvc-aircraft", ["a.txt", "b.txt", "c.txt"], "images", (False, True, True)),
        ("fgvc-aircraft", [], "images", (False, False, False)),
        ("imagenet", [], "images", (False, True, True)),
    ],
)
def test_what_is_there_of_a_dataset_is_present_and_divided(
    name: str, lists: list[str], images: str | None, expected: tuple[bool, bool, bool]
) -> None:
    found = FoundDataset(
        described=describe(name),
        images=Path(images) if images else None,
        lists=tuple(map(Path, lists)),
        rows=(),
    )
    assert (found.has_split_file, found.has_published_splits, found.is_present) == expected
