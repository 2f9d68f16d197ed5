"""The report in one file, which loads nothing and runs no script."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.report import pages, write_report
from clip_adapter.report.blocks import as_csv
from clip_adapter.report.glossary import GLOSSARY
from clip_adapter.report.results import read_results
from clip_adapter.runs import connect

Promote = Callable[..., Any]
PutRuns = Callable[..., None]
HOSTILE = "</title><script>window.hit=1</script><img src=x onerror=hit()>"


def page_of_all(root: Path) -> str:
    return write_report(root, root.parent / "out" / "results.html").page.read_text()


def test_a_page_named_html_holds_its_figures(digits: Path, tmp_path: Path) -> None:
    written = write_report(digits, tmp_path / "out" / "results.html")
    assert written.figures == ()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.html"]
    text = written.page.read_text()
    assert re.findall(r'data-figure="[^"]*-(\w+)-wide"', text) == [
        *("accuracy", "classes", "confusion", "reliability"),
    ]
    assert text.partition("<script>")[0].count("<svg ") == 8


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


@pytest.mark.parametrize("word", GLOSSARY)
def test_every_word_of_the_glossary_is_explained_where_it_stands(word: str) -> None:
    shown = str(pages._html_prose(f"of {word} and"))
    assert shown.startswith('of <a class="term" href="#word-')
    assert shown.endswith("</a> and")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("run `train --promote`", "run <code>train --promote</code>"),
        ("{0} {a} `<b>`", "{0} {a} `&lt;b&gt;`"),
        ("a`b\u202e", "a`b\\u202e"),
    ],
)
def test_prose_is_text_but_for_plain_code(given: str, shown: str) -> None:
    assert str(pages._html_prose(given)) == shown


def test_a_download_computes_nothing() -> None:
    rows = [{"name": text, "n": -1.5} for text in ("=1+1", "+1", "-x", "@a", "a=b")]
    lines = as_csv(rows).splitlines()
    assert lines == ["name,n", "'=1+1,-1.5", "'+1,-1.5", "'-x,-1.5", "'@a,-1.5", "a=b,-1.5"]


def test_a_class_with_braces_and_quotes_is_shown_and_asked_for(
    put_runs: PutRuns, root: Path
) -> None:
    name = "{x} 'y' `z`"
    zero_shot = {"method": "zero-shot", "shots": 0, "split_fingerprint": ""}
    put_runs([120], seeds=[None], class_names=(name, "b"), **zero_shot)
    put_runs([150, 150, 150], class_names=(name, "b"), dataset="it's")
    put_runs([150, 150, 150], class_names=(name, "b"))
    with connect(root) as database:
        results = read_results(database)
        sections = pages.write_sections(database, results)
        for section in sections:
            for block in section.blocks:
                database.query(block.sql)
    assert [section.results.dataset for section in sections] == ["digits", "it's"]
    assert "{x} &#39;y&#39; `z`" in pages.html_report(sections)


def test_a_refusal_is_told_where_there_is_no_champion(digits: Path, promote: Promote) -> None:
    promote(1, decision="refused", reason="not proven better: 12 images", champion_before=None)
    page = page_of_all(digits)
    assert "The last candidate was refused on 2026-11-24: not proven better: 12 images." in page
    assert "Champion and its history" in page


def test_the_champion_leads_and_one_of_another_encoder_is_named(
    digits: Path, promote: Promote
) -> None:
    champion = {"run_id": f"{11:032x}", "method": "linear-probe", "shots": 4}
    promote(1, encoder="0123456789abcdef", **champion)
    page = page_of_all(digits)
    assert "with linear-probe at 4 shots, the settings of the champion." in page
    promote(2, **champion)
    page = page_of_all(digits)
    assert "It uses another encoder." in page
    assert "with clip-adapter at 4 shots, the reference method of this report." in page


def test_zero_shot_alone_and_one_method_alone_have_a_page(put_runs: PutRuns, root: Path) -> None:
    zero_shot = {"method": "zero-shot", "shots": 0, "split_fingerprint": ""}
    put_runs([120], seeds=[None], **zero_shot)
    assert "60.0" in page_of_all(root)
    put_runs([150], seeds=[1], dataset="other", class_names=("one",))
    page = page_of_all(root)
    assert "<code>--methods zero-shot</code>" not in page.partition("other")[0]
    assert "Few-shot results: digits, other" in page


def test_an_oracle_is_never_what_stands_out(put_runs: PutRuns, root: Path) -> None:
    put_runs([150, 150, 150], method="gda", settings_fingerprint="gda")
    put_runs(
        [190] * 5,
        seeds=range(5),
        method="lp++",
        settings_fingerprint="lp",
        selected_on="test (oracle)",
    )
    with connect(root) as database:
        (section,) = pages.write_sections(database, read_results(database))
    assert section.headline is not None
    assert section.headline.series.name == "gda"
    (accuracy,) = (block for block in section.blocks if block.name == "accuracy")
    assert accuracy.says == ("Highest mean: gda at 4 shots.",)
    assert not any("higher mean" in text for text, _ in section.next_steps)
