"""A folder full of everything that goes wrong: rows and reasons, no crash, no wait."""

import os
import shutil
import socket
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from steps import index_dataset

from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import query

GOLDEN = Path(__file__).parents[1] / "images" / "golden"
BROKEN = (
    "bomb.png",
    "empty.png",
    "float32.tiff",
    "many-scans.jpg",
    "needle.png",
    "page.jpg",
    "pixmap.png",
    "truncated.jpg",
    "truncated.png",
)
HOSTILE_CLASSES = (
    "<script>alert(1)<",
    "[bold]red[red]",
    'it\'s "quoted"; DROP TABLE images',
    "{}{0}{name}",
    "%s \\n $HOME `id`",
)
HOSTILE_NAMES = (
    "line\nbreak.png",
    "\x1b[2J\x1b[31mred.png",
    "bell\a\b\r.png",
    "gpj.\u202eexe.png",
    "'; DROP TABLE images; --.png",
    '"quoted".png',
    "[bold]x[red].png",
    "-rf.png",
    "%s{}.png",
    "写真.png",
    "a" * 251 + ".png",
)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Five classes; good pictures under hostile names, broken ones under friendly names."""
    folder = tmp_path / "folder"
    for number, name in enumerate(HOSTILE_CLASSES):
        (folder / name).mkdir(parents=True)
        (folder / name / "good.png").write_bytes(picture(number))
    here = folder / HOSTILE_CLASSES[0]
    for number, name in enumerate(HOSTILE_NAMES):
        (here / name).write_bytes(picture(100 + number))
    for name in BROKEN:
        shutil.copy(GOLDEN / name, here / name)
    put_what_is_no_file(here, outside=tmp_path)
    return folder


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put_what_is_no_file(here: Path, *, outside: Path) -> None:
    (outside / "secret.png").write_bytes(picture(1_000))
    (here / "link-out.png").symlink_to(outside / "secret.png")
    (here / "link-to-device.png").symlink_to("/dev/zero")
    (here / "link-to-nothing.png").symlink_to("absent.png")
    (here / "link-to-itself.png").symlink_to("link-to-itself.png")
    (here / "link-to-folder.png").symlink_to(".")
    (here / "folder.png").mkdir()
    os.mkfifo(here / "pipe.png")
    (here / os.fsdecode(b"latin-\xe9.png")).write_bytes(picture(1_001))
    with socket.socket(socket.AF_UNIX) as server:
        place = os.open(here, os.O_RDONLY)
        # By the descriptor: the path of a socket has at most some hundred bytes.
        server.bind(f"/proc/self/fd/{place}/socket.png")
        os.close(place)


@pytest.fixture(name="indexed")
def _indexed(folder: Path, root: Path) -> IndexedDataset:
    return index_dataset(f"imagefolder:{folder}", root=root, data=root, max_bad_fraction=0.9)


@pytest.mark.timeout(60)
def test_every_good_file_is_a_row(indexed: IndexedDataset, root: Path) -> None:
    rows = query(root, "SELECT path, class_name FROM images").to_pylist()

    expected = {f"{HOSTILE_CLASSES[0]}/{name}" for name in HOSTILE_NAMES}
    expected |= {f"{name}/good.png" for name in HOSTILE_CLASSES}
    assert {row["path"] for row in rows} == expected
    assert {row["class_name"] for row in rows} == set(HOSTILE_CLASSES)
    assert indexed.n_images == len(rows) == len(expected)


@pytest.mark.timeout(60)
def test_every_bad_file_is_a_row_with_its_reason(
    indexed: IndexedDataset, folder: Path, root: Path
) -> None:
    rows = query(root, "SELECT path, reason FROM quarantine").to_pylist()

    reasons = {row["path"].rpartition("/")[2]: row["reason"] for row in rows}
    leads_out = (
        "it is a link that leads out of the folder; to follow links to regular files below a folder, "
        "name it: --follow-links {}"
    )
    special = {
        "link-out.png": leads_out.format(folder.parent),
        "link-to-device.png": leads_out.format("ROOT"),
        "link-to-nothing.png": "it is a link to a file that does not exist",
        "link-to-itself.png": "it is a link that leads in a circle",
        "pipe.png": "it is a pipe, not a regular file",
        "socket.png": "it is a socket or a device without a driver, not a regular file",
        r"latin-\udce9.png": "its name is not valid UTF-8",
    }
    assert set(reasons) == {*BROKEN, *special}
    assert {name: reasons[name] for name in special} == special
    assert all(reason.isprintable() and reason for reason in reasons.values())
    assert indexed.n_quarantined == len(rows)


@pytest.mark.timeout(60)
def test_a_folder_called_like_a_picture_is_walked_unless_it_is_a_link_in_a_circle(
    indexed: IndexedDataset, root: Path
) -> None:
    rows = query(root, "SELECT path, reason FROM excluded").to_pylist()

    path = f"{HOSTILE_CLASSES[0]}/link-to-folder.png"
    assert rows == [{"path": path, "reason": "link in a circle"}]
    assert indexed.excluded == {"link in a circle": 1}


def test_a_second_indexing_finds_the_same(
    indexed: IndexedDataset, folder: Path, root: Path
) -> None:
    again = index_dataset(f"imagefolder:{folder}", root=root, data=root, max_bad_fraction=0.9)

    assert again == indexed


def test_braces_in_class_names_survive_in_prompts(indexed: IndexedDataset) -> None:
    assert indexed.prompts == [f"a photo of a {name}." for name in sorted(HOSTILE_CLASSES)]


def test_what_is_said_of_a_hostile_file_cannot_steer_a_terminal(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, class_name in enumerate(("a", "b")):
        (tmp_path / "two" / class_name).mkdir(parents=True)
        (tmp_path / "two" / class_name / "good.png").write_bytes(picture(number))
    for name in HOSTILE_NAMES[:4]:
        (tmp_path / "two" / "a" / name).write_bytes(b"\x1b[2Jno picture\n\a")
    index_dataset(f"imagefolder:{tmp_path / 'two'}", root=root, data=root, max_bad_fraction=0.9)

    lines = capsys.readouterr().err.splitlines()
    assert all(line.isprintable() for line in lines)
    assert r"quarantined a/\x1b[2J\x1b[31mred.png" in "\n".join(lines)
    assert len([line for line in lines if line.startswith("quarantined")]) == 4


def test_a_line_for_a_person_keeps_its_breaks_and_its_brackets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Reporter().log("two\nlines of [bold]words[/bold]\x1b[0m")

    assert capsys.readouterr().err == "two\nlines of [bold]words[/bold]\\x1b[0m\n"
