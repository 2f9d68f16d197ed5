"""The report in one file, which loads nothing and runs no script."""

import re
from collections.abc import Callable
from pathlib import Path

from clip_adapter.report import write_report
from clip_adapter.report.pages import html_page

PutRuns = Callable[..., None]
HOSTILE = "</title><script>window.hit=1</script><img src=x onerror=hit()>"


def page_of_all(root: Path) -> str:
    return write_report(root, root.parent / "out" / "results.html").page.read_text()


def test_a_page_named_html_holds_its_figures(digits: Path, tmp_path: Path) -> None:
    written = write_report(digits, tmp_path / "out" / "results.html")
    assert written.figures == ()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.html"]
    text = written.page.read_text()
    assert re.findall(r'src="(.{22})', text) == ["data:image/png;base64,"]
    assert '<th style="text-align:left">method</th>' in text


def test_html_in_markdown_is_shown_and_not_obeyed() -> None:
    page = html_page("# <b>x</b>\n\n<script>window.hit=1</script>\n", {})
    assert "<script" not in page
    assert "&lt;script&gt;window.hit=1&lt;/script&gt;" in page


def test_hostile_names_stay_inert_in_html(put_runs: PutRuns, root: Path) -> None:
    put_runs([150, 150, 150], model=HOSTILE, class_names=(HOSTILE, "b"))
    page = page_of_all(root)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("</title>") == 1


def test_a_page_asks_no_address(digits: Path) -> None:
    page = page_of_all(digits)
    assert "default-src 'none'" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
