"""Tar archives in WebDataset's form, as they come and as a stranger might send them."""

import io
import json
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from clip_adapter.datasets import FolderOptions, ImageSource, build_index, open_dataset
from clip_adapter.errors import DatasetError

MakeImage = Callable[[int], bytes]
Put = Callable[[Path, int], Path]
Members = Sequence[tuple[str, bytes]]


def tar_bytes(members: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def write(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members))
    return path


def opened(pattern: object, **options: Any) -> ImageSource:
    name = f"webdataset:{pattern}"
    return open_dataset(name, data=Path("nowhere"), options=FolderOptions(**options))


def samples(make_image: MakeImage, first: int = 0, n: int = 8) -> list[tuple[str, bytes]]:
    """Pictures of two classes by turns, each with its label beside it."""
    return [
        member
        for number in range(first, first + n)
        for member in (
            (f"{number:06d}.png", make_image(number)),
            (f"{number:06d}.cls", str(number % 2).encode()),
        )
    ]


def test_an_image_in_an_archive_and_the_same_file_have_one_digest(
    tmp_path: Path, make_image: MakeImage
) -> None:
    write(tmp_path / "shards" / "0.tar", samples(make_image))
    for number in range(8):
        place = tmp_path / "own" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(make_image(number))
    index = build_index(opened(tmp_path / "shards" / "*.tar"))
    own = build_index(open_dataset(f"imagefolder:{tmp_path / 'own'}", data=tmp_path))
    assert index.paths[0] == "0.tar/000000.png"
    assert dict(zip(index.image_sha256, index.splits, strict=True)) == dict(
        zip(own.image_sha256, own.splits, strict=True)
    )


def test_labels_are_numbers_or_names_or_in_json(tmp_path: Path, make_image: MakeImage) -> None:
    members = [
        member
        for n in range(4)
        for member in (
            (f"{n}.png", make_image(n)),
            (f"{n}.cls", b"cat\n" if n % 2 else b"dog"),
            (f"{n}.json", json.dumps({"species": f"s{n % 2}", "scene": n}).encode()),
        )
    ]
    write(tmp_path / "a.tar", members)
    assert opened(tmp_path / "a.tar").class_names == ("cat", "dog")
    columns = (("group", "scene"), ("label", "species"))
    named = opened(tmp_path / "a.tar", columns=columns)
    assert named.class_names == ("s0", "s1")
    assert [file.group for file in named.files] == ["0", "1", "2", "3"]
    write(tmp_path / "b.tar", [each for each in members if not each[0].endswith("cls")])
    with pytest.raises(DatasetError, match=r"no labelled image.*4 no label"):
        opened(tmp_path / "b.tar")
    assert opened(tmp_path / "b.tar", columns=columns).class_names == ("s0", "s1")


def test_numbers_are_named_by_a_file_in_their_order(tmp_path: Path, make_image: MakeImage) -> None:
    members = [
        member
        for n in range(12)
        for member in ((f"{n}.png", make_image(n)), (f"{n}.cls", str(n).encode()))
    ]
    write(tmp_path / "a.tar", members)
    assert opened(tmp_path / "a.tar").class_names[-3:] == ("9", "10", "11")
    (tmp_path / "names.txt").write_text("\n".join(f"name {n}" for n in range(12)))
    named = opened(tmp_path / "a.tar", class_names=tmp_path / "names.txt")
    assert named.class_names[-3:] == ("name 9", "name 10", "name 11")


@pytest.mark.parametrize(
    ("above", "split"), [("", None), ("./", None), ("photos/", None), ("train/", "train")]
)
def test_classes_may_be_folders_in_the_archive(
    tmp_path: Path, make_image: MakeImage, above: str, split: str | None
) -> None:
    members = [(f"{above}{'cat' if n % 2 else 'dog'}/{n}.png", make_image(n)) for n in range(4)]
    others = [(f"test/{'cat' if n % 2 else 'dog'}/{n}.png", make_image(n)) for n in range(4, 8)]
    write(tmp_path / "a.tar", [*members, *(others if split else [])])
    source = opened(tmp_path / "a.tar")
    assert source.class_names == ("cat", "dog")
    assert {file.split for file in source.files} == ({"train", "test"} if split else {None})
    assert len(build_index(source)) == (8 if split else 4)


def test_the_names_of_archives_tell_the_splits(tmp_path: Path, make_image: MakeImage) -> None:
    for number, shard in enumerate(["train-000", "train-001", "imagenet_val_0", "test/0"]):
        write(tmp_path / f"{shard}.tar", samples(make_image, 10 * number, 4))
    source = opened(f"{tmp_path}/**/*.tar")
    found = {file.path.rpartition("/")[0]: file.split for file in source.files}
    assert found == {
        "train-000.tar": "train",
        "train-001.tar": "train",
        "imagenet_val_0.tar": "val",
        "test/0.tar": "test",
    }


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("birds/*.tar", "birds"), ("birds/a-?.tar", "birds"), ("birds/a-0.tar", "a-0")],
)
def test_a_dataset_is_called_like_its_folder_or_its_one_archive(
    tmp_path: Path, make_image: MakeImage, pattern: str, name: str
) -> None:
    write(tmp_path / "birds" / "a-0.tar", samples(make_image))
    assert opened(tmp_path / pattern).name == name
    assert opened(tmp_path / pattern, name="mine").name == "mine"


def test_braces_name_numbers_and_words(tmp_path: Path, make_image: MakeImage) -> None:
    for shard in range(8, 13):
        write(tmp_path / f"train-{shard:02d}.tar", samples(make_image, 10 * shard, 4))
    write(tmp_path / "val-08.tar", samples(make_image, 200, 4))
    write(tmp_path / "{odd}.tar", samples(make_image, 300, 4))
    source = opened(f"{tmp_path}/{{train,val}}-{{08..10}}.tar")
    assert {file.path[:-11] for file in source.files} == {
        *("train-08.tar", "train-09.tar", "train-10.tar", "val-08.tar"),
    }
    assert "2 of the 6 archives" in source.notes[0]
    assert "as 'val-09.tar'" in source.notes[0]
    assert not [n for n in opened(f"{tmp_path}/train-{{08..12}}.tar").notes if "archives" in n]
    assert len(opened(f"{tmp_path}/{{odd}}.tar").files) == 4
    for braces in ("{0..999999}", "{000..999}-{000..999}"):
        with pytest.raises(DatasetError, match="more than 100,000 archives"):
            opened(f"{tmp_path}/{braces}.tar")


def test_ignored_archives_and_members_are_left_out(tmp_path: Path, make_image: MakeImage) -> None:
    for shard in range(2):
        write(tmp_path / f"{shard}.tar", samples(make_image, 10 * shard))
    source = opened(tmp_path / "*.tar", ignore=("1.tar", "0.tar/000000*"))
    assert len(source.files) == 7
    assert ("0.tar/000000.png", "ignored") in {(e.path, e.reason) for e in source.excluded}


def test_what_cannot_be_an_image_is_counted_by_reason(
    tmp_path: Path, make_image: MakeImage
) -> None:
    hostile: list[tuple[str, bytes]] = [
        ("../up.png", make_image(90)),
        ("/etc/abs.png", make_image(91)),
        ("._000000.png", b"resource fork"),
        ("notes.txt", b"text"),
        ("x" * 10_000 + ".png", make_image(92)),
        ("000000.png", make_image(93)),
        ("bad\udcff.png", make_image(94)),
    ]
    data = tar_bytes([*samples(make_image), *hostile])[: -2 * 512]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    end = data.rstrip(b"\0")
    padded = end + bytes(-len(end) % 512)
    (tmp_path / "a.tar").write_bytes(padded + file.getvalue())
    source = opened(tmp_path / "a.tar")
    reasons = {each.path[:30]: each.reason for each in source.excluded}
    leads_out = "its name leads out of the archive"
    assert reasons == {
        "a.tar/link.png": "a link",
        "a.tar/../up.png": leads_out,
        "a.tar//etc/abs.png": leads_out,
        "a.tar/._000000.png": "hidden",
        "a.tar/notes.txt": "not an image",
        "a.tar/" + "x" * 24: "a cell of more than 4,096 characters",
        "a.tar/000000.png": "replaced by a later member of its name",
        "a.tar/bad\\udcff.png": "its name is not valid UTF-8",
    }
    assert len(source.files) == 8
    index = build_index(source)
    assert index.image_sha256[0] != build_index(opened_alone(tmp_path, make_image)).image_sha256[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def opened_alone(folder: Path, make_image: MakeImage) -> ImageSource:
    write(folder / "b.tar", samples(make_image))
    return opened(folder / "b.tar")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "is damaged after"),
        (lambda data: data[:600] + b"x" * 1024 + data[1624:], "is damaged after"),
        (lambda _: b"no archive at all" * 100, "is damaged after 0 files, or no tar archive"),
    ],
)
def test_a_damaged_archive_is_one_clear_error(
    tmp_path: Path, make_image: MakeImage, damage: Callable[[bytes], bytes], words: str
) -> None:
    write(tmp_path / "0.tar", samples(make_image))
    (tmp_path / "1.tar").write_bytes(damage(tar_bytes(samples(make_image, 20))))
    with pytest.raises(DatasetError, match=words) as error:
        opened(tmp_path / "*.tar")
    assert "leave it out (--ignore '1.tar')" in str(error.value)
    assert len(opened(tmp_path / "*.tar", ignore=("1.tar",)).files) == 8


def test_what_is_beside_an_image_is_read_with_measure(
    tmp_path: Path, make_image: MakeImage
) -> None:
    good = samples(make_image)
    cases = [
        ("9.cls", b"\xff\xfe", "is not UTF-8"),
        ("9.json", b"[1]", "is a list; expected an object"),
        ("9.json", b"[" * 100_000, "is no JSON"),
        ("9.json", b'{"label": "' + b"x" * 2**20 + b'"}', "is larger than 1,048,576 bytes"),
    ]
    for name, data, words in cases:
        write(tmp_path / "a.tar", [*good, ("9.png", make_image(9)), (name, data)])
        columns = (("label", "label"),) if name.endswith("json") else ()
        with pytest.raises(DatasetError, match=words):
            opened(tmp_path / "a.tar", columns=columns)
    write(tmp_path / "a.tar", [*good, ("9.png", make_image(9)), ("9.cls", b"y" * 5000)])
    assert [each.reason for each in opened(tmp_path / "a.tar").excluded] == [
        "a cell of more than 4,096 characters"
    ]


def test_a_label_in_json_does_not_replace_the_one_beside_the_image(
    tmp_path: Path, make_image: MakeImage
) -> None:
    members = samples(make_image)
    for number in range(8):
        document = json.dumps({"label": "other", "scene": f"s{number // 2}"})
        members.append((f"{number:06d}.json", document.encode()))
    write(tmp_path / "a.tar", members)
    source = opened(tmp_path / "a.tar", columns=(("group", "scene"),))
    assert [file.label for file in source.files] == [0, 1] * 4
    assert [file.group for file in source.files] == [f"s{number // 2}" for number in range(8)]


def test_a_mask_in_a_sample_is_no_image_to_train_on(tmp_path: Path, make_image: MakeImage) -> None:
    members = [*samples(make_image), ("000000.seg.png", make_image(50))]
    members += [("000100.left.png", make_image(51)), ("000100.cls", b"1")]
    write(tmp_path / "a.tar", members)
    source = opened(tmp_path / "a.tar")
    assert [(each.path, each.reason) for each in source.excluded] == [
        ("a.tar/000000.seg.png", "another image of its sample")
    ]
    assert "a.tar/000100.left.png" in {file.path for file in source.files}
    folders = [(f"{'ab'[n % 2]}/1.{n}.png", make_image(n)) for n in range(4)]
    write(tmp_path / "b.tar", [*folders, ("a/1.png", make_image(9))])
    assert len(opened(tmp_path / "b.tar").files) == 5


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("nothing/*.tar", "no tar archive matches"),
        ("missing.tar", "no tar archive matches"),
        ("folder", "is a folder; write webdataset:.*folder/"),
        ("*.tar.gz", "only uncompressed ones are read in place"),
        ("", "is a folder"),
        ("a\0*.tar", "no tar archive matches"),
        ("file:///x/*.tar", "expected a path, or a URL"),
    ],
)
def test_a_pattern_that_names_no_archive_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=words):
        opened(pattern if "://" in pattern else f"{tmp_path}/{pattern}")


def test_a_folder_for_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="drop --images"):
        open_dataset("webdataset:*.tar", data=tmp_path, images=tmp_path)


def test_links_to_archives_elsewhere_take_leave(tmp_path: Path, make_image: MakeImage) -> None:
    write(tmp_path / "store" / "0.tar", samples(make_image))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.tar").symlink_to(tmp_path / "store" / "0.tar")
    with pytest.raises(DatasetError, match="--follow-links"):
        opened(tmp_path / "data" / "*.tar")


def put_objects(url: str, objects: dict[str, bytes]) -> None:
    """Put objects below a URL of the test server."""
    import boto3  # noqa: PLC0415  # a second, that most tests need not spend

    parts = urlsplit(url)
    host = parts.query.partition("endpoint_override=")[2].partition("&")[0]
    client = boto3.client("s3", endpoint_url=f"http://{host}")
    for name, data in objects.items():
        key = f"{parts.path.strip('/')}/{name}"
        client.put_object(Bucket=parts.netloc, Key=key, Body=data)
    client.close()


def test_archives_in_an_object_store_are_read_in_place(
    tmp_path: Path, make_image: MakeImage, object_store: Callable[[str], str]
) -> None:
    place = f"bucket/{uuid.uuid4().hex}/birds"
    shards = {
        "train-0.tar": tar_bytes(samples(make_image)),
        "test-0.tar": tar_bytes(samples(make_image, 20)),
        "more/train-1.tar": tar_bytes(samples(make_image, 40)),
        "readme.txt": b"text",
    }
    put_objects(object_store(place), shards)
    source = opened(object_store(f"{place}/*.tar"))
    assert (source.name, len(source.files)) == ("birds", 16)
    index = build_index(source)
    for name, data in shards.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    local = build_index(opened(tmp_path / "*.tar"))
    assert index.paths == local.paths
    assert index.image_sha256 == local.image_sha256
    assert index.splits == local.splits
    everything = opened(object_store(f"{place}/**/*.tar"))
    assert len(everything.files) == 24
    assert len(opened(object_store(f"{place}/{{train,test}}-0.tar")).files) == 16
    assert opened(object_store(f"{place}/train-0.tar")).name == "train-0"
    with pytest.raises(DatasetError, match="no tar archive matches"):
        opened(object_store(f"{place}/valid-*.tar"))
    with pytest.raises(DatasetError, match="cannot be read"):
        opened(object_store("no-such-bucket/*.tar"))


INDEXED = """
import resource, sys
from pathlib import Path
from clip_adapter.datasets import FolderOptions, build_index, open_dataset
from clip_adapter.images import decode_image

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
source = open_dataset(sys.argv[1], data=Path("nowhere"), options=FolderOptions())
print(len(build_index(source, workers=1)), peak() - before)
"""


@pytest.mark.slow
def test_an_index_of_a_hundred_thousand_members_takes_below_a_kilobyte_each(
    tmp_path: Path,
) -> None:
    n = 100_000
    picture = io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "BMP")
    with (tmp_path / "a.tar").open("wb") as file:
        for number in range(n):
            data = picture.getvalue()[:-4] + number.to_bytes(4, "little")
            member = tarfile.TarInfo(f"{'cat' if number % 2 else 'dog'}/{number:08d}.bmp")
            member.size = len(data)
            file.write(member.tobuf(tarfile.USTAR_FORMAT) + data.ljust(512, b"\0"))
        file.write(bytes(1024))
    # Measured from outside: counting every allocation would take minutes.
    found = subprocess.run(
        [sys.executable, "-c", INDEXED, f"webdataset:{tmp_path / 'a.tar'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    n_rows, kilobytes = map(int, found.stdout.split())
    assert n_rows == n
    assert 1024 * kilobytes < 1000 * n


@pytest.mark.parametrize("labelled_by", ["cls", "folder"])
def test_groups_and_splits_beside_other_labels_count(
    tmp_path: Path, make_image: MakeImage, labelled_by: str
) -> None:
    members = []
    for number in range(4):
        stem = f"{'ab'[number % 2]}/{number:06d}" if labelled_by == "folder" else f"{number:06d}"
        split = "train" if number < 2 else "test"
        about = json.dumps({"group": f"g{number // 2}", "split": split}).encode()
        members += [(f"{stem}.png", make_image(number)), (f"{stem}.json", about)]
        if labelled_by == "cls":
            members.append((f"{stem}.cls", str(number % 2).encode()))
    found = opened(write(tmp_path / "a.tar", members))
    said = {(file.path[-5:], file.group, file.split) for file in found.files}
    assert said == {
        *((f"{number}.png", "g0", "train") for number in range(2)),
        *((f"{number}.png", "g1", "test") for number in range(2, 4)),
    }
