"""The report command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_a_report_tells_of_runs_that_really_happened(
    train: Command, command: Command, root: Path, tmp_path: Path
) -> None:
    assert train("--methods", "zero-shot,clip-adapter").code == 0
    before = sorted(path for path in root.rglob("*") if path.is_file())
    page = tmp_path / "out" / "page.md"
    outcome = command("report", "--root", root, "--to", page)
    assert (outcome.code, outcome.err) == (0, "")
    assert "3 runs in" in outcome.out
    assert "| clip-adapter |" in page.read_text()
    printed = json.loads(command("report", "--root", root, "--to", page, "--json").out)
    assert printed["runs"] == 3
    assert [Path(figure).is_file() for figure in printed["figures"]] == [True] * 4
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before


def test_without_runs_there_is_nothing_to_report(
    command: Command, root: Path, tmp_path: Path
) -> None:
    root.mkdir()
    refused = command("report", "--root", root, "--to", tmp_path / "page.md")
    assert refused.code == 1
    assert "no completed runs" in refused.err
    assert not (tmp_path / "page.md").exists()


def test_a_page_is_markdown_or_html_and_nothing_else(
    command: Command, root: Path, tmp_path: Path
) -> None:
    refused = command("report", "--root", root, "--to", tmp_path / "page.pdf")
    assert refused.code == 1
    assert "page.pdf ends in .pdf" in refused.err
    assert ".html" in refused.err
    assert not (tmp_path / "page.pdf").exists()
