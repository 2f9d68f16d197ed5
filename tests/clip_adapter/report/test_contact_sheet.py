"""Contact sheets: names from folders are shown as text, and other files are refused."""

from pathlib import Path

import pytest
from PIL import Image

from clip_adapter.errors import ParameterError
from clip_adapter.report.contact_sheet import (
    ContactSheet,
    Row,
    Thumbnail,
    html_of,
    write_contact_sheet,
)


def a_sheet(class_name: str) -> ContactSheet:
    shown = Thumbnail(path="a/1.jpg", split="train", image=Image.new("RGB", (96, 60), "red"))
    gap = Thumbnail(path="a/<2>.jpg", split="test", gap="it is <gone>")
    row = Row(
        class_name=class_name, counts={"train": 1, "val": 0, "test": 1}, thumbnails=(shown, gap)
    )
    return ContactSheet(title="pets", source="/photos", rows=(row,))


def test_names_and_reasons_are_escaped() -> None:
    page = html_of(a_sheet("<script>alert(1)</script>"))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "it is &lt;gone&gt;" in page


def test_a_gap_is_counted_and_shown_with_its_reason() -> None:
    sheet = a_sheet("cat")
    assert (sheet.n_shown, sheet.n_gaps) == (1, 1)
    assert sheet.rows[0].heading == "cat: 1 train, 1 test"
    assert html_of(sheet).count('<figure class="gap">') == 1


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.html or a \.png"):
        write_contact_sheet(a_sheet("cat"), tmp_path / "sheet.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_font_of_a_png_lacks_is_drawn_in_ascii(tmp_path: Path) -> None:
    for name, page in {
        "Forêt": "a.png",
        "Foret": "b.png",
        "猫": "c.png",
        r"\u732b": "d.png",
    }.items():
        write_contact_sheet(a_sheet(name), tmp_path / page)
    images = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert images[0] == images[1]
    assert images[2] == images[3] != images[0]


def test_equal_sheets_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_contact_sheet(a_sheet("cat"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
