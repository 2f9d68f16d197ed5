"""The report in one file, which loads nothing and runs no script."""

import re
from collections.abc import Callable
from pathlib import Path

from clip_adapter.report import write_report

PutRuns = Callable[..., None]
HOSTILE = "</title><script>window.hit=1</script><img src=x onerror=hit()>"


def page_of_all(root: Path) -> str:
    return write_report(root, root.parent / "out" / "results.html").page.read_text()


def test_a_page_named_html_holds_its_figures(digits: Path, tmp_path: Path) -> None:
    written = write_report(digits, tmp_path / "out" / "results.html")
    assert written.figures == ()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.html"]
    text = written.page.read_text()
    assert re.findall(r'data-figure="[^"]*-(\w+)"', text) == [
        *("accuracy", "classes", "confusion", "reliability"),
    ]
    assert text.partition("<script>")[0].count("<svg ") == 4


def test_hostile_names_stay_inert_in_html(put_runs: PutRuns, root: Path) -> None:
    put_runs([150, 150, 150], model=HOSTILE, class_names=(HOSTILE, "b"))
    page = page_of_all(root)
    written = page.partition("</style>")[2]
    assert "<script>window.hit" not in page
    assert "<img src=x" not in written
    assert "&lt;script&gt;window.hit=1" in written
    assert "\\u003cscript" in written  # in the specification of a figure
    assert page.count("</title>") == 1 + page.count("&lt;/title>")


def test_a_page_asks_no_address(digits: Path) -> None:
    page = page_of_all(digits).partition("<script>")[0]
    assert "default-src 'none'" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
