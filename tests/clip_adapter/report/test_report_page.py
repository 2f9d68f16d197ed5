"""The page: what is in it, and that it is whole."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from clip_adapter.errors import UnknownNameError
from clip_adapter.report import pages, write_report
from clip_adapter.runs import Candidate, RunSettings, RunStoreError

PutRuns = Callable[..., None]
PutSplits = Callable[..., list[str]]
HOSTILE = "a|b<script>x</script>[c](javascript:d) **e**"
NAMED = re.compile(r"\[[^\]]*\]\(([^)]+)\)")


@pytest.fixture(name="page")
def _page(tmp_path: Path) -> Path:
    return tmp_path / "docs" / "results.md"


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}")[2].partition("\n#")[0]


def rows(text: str, title: str) -> Iterator[list[str]]:
    """The cells of the table in a section, header first."""
    for line in section(text, title).splitlines():
        if line.startswith("|") and "--" not in line:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_a_page_has_every_section_and_its_figures(digits: Path, page: Path) -> None:
    written = write_report(digits, page)
    text = page.read_text()
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert titles == [
        "Results",
        "digits with glyphs",
        "Accuracy",
        "Where clip-adapter wins, and where not",
        "Classes against zero-shot",
        "Classes that are confused",
        "Reliability",
        "Calibration",
        "The worst mistakes",
        "Labels to look at",
        "How settings were chosen",
        "Seconds to train",
        "Provenance",
    ]
    shown = [page.parent / name for name in NAMED.findall(text)]
    assert shown == list(written.figures)
    assert sorted(shown) == sorted((page.parent / "results-figures").iterdir())
    for figure in shown:
        ET.fromstring(figure.read_text())  # noqa: S314  # written here
    assert written.n_runs == 13


def test_the_tables_hold_the_numbers(digits: Path, page: Path) -> None:
    write_report(digits, page)
    text = page.read_text()
    assert list(rows(text, "Accuracy")) == [
        ["method", "none", "1 shot", "4 shots"],
        ["zero-shot", "**60.0**", "", ""],
        # Half a percent is one standard deviation; times 4.303 (t of 2 degrees) / sqrt(3).
        ["clip-adapter", "", "**71.0 ± 2.5**", "80.0 ± 0.0"],
        ["linear-probe", "", "56.7 ± 19.0", "**85.0 ± 0.0**"],
    ]
    assert list(rows(text, "Calibration"))[2] == [
        *("clip-adapter", "validation", ""),
        *["12.5 → 5.0 (T = 1.50)"] * 2,
    ]
    assert list(rows(text, "Seconds to train"))[2] == ["clip-adapter", "", "2.50", "2.50"]


def test_the_reading_says_what_the_comparisons_show(digits: Path, page: Path) -> None:
    write_report(digits, page)
    text = section(page.read_text(), "Where clip-adapter wins, and where not")
    assert "clip-adapter is ahead in 2 of 4 comparisons and behind in 1; in 1 no difference" in text
    assert "- Against zero-shot: ahead at 1 and 4 shots (+11.0 and +20.0)." in text
    assert (
        "- Against linear-probe: behind at 4 shots (-5.0); no difference shown at 1 shot (+14.3)."
        in text
    )
    highest = "Highest mean: clip-adapter at 1 shot; linear-probe at 4 shots."
    assert highest in section(page.read_text(), "Accuracy")
    assert "`--seeds 1-10`" in text
    (*_, last) = rows(page.read_text(), "Where clip-adapter wins, and where not")
    # McNemar on ten images that only the probe is right on: 2 * 0.5 ** 10, the second smallest of
    # four p-values, which Holm's correction multiplies by 3.
    assert last[:4] == ["linear-probe", "4 shots", "behind", "-5.0"]
    assert last[5:] == ["0.0059", "0.002", "0 of 3", "0 / 190 / 10"]


def test_every_verdict_agrees_with_the_p_value_beside_it(digits: Path, page: Path) -> None:
    write_report(digits, page)
    (header, *shown) = rows(page.read_text(), "Where clip-adapter wins, and where not")
    for row in shown:
        cells = dict(zip(header, row, strict=True))
        low, high = map(float, cells["95 % interval"].split(" to "))
        p_value, adjusted = (
            float(cells[name].removeprefix("below ")) for name in ("p", "adjusted p")
        )
        assert p_value <= adjusted
        assert (p_value < 0.05) == (low > 0 or high < 0)
        assert (adjusted < 0.05) == (cells["verdict"] != "no difference shown")


def test_a_difference_that_seeds_contradict_is_no_win(
    put_runs: PutRuns, root: Path, page: Path
) -> None:
    put_runs([190, 190, 150])
    put_runs([150, 150, 160], method="linear-probe", settings_fingerprint="probe")
    write_report(root, page)
    assert "- Against linear-probe: no difference shown at 4 shots (+11.7)." in page.read_text()


def test_seeds_that_train_on_the_same_images_are_no_draws(
    put_runs: PutRuns, put_splits: PutSplits, root: Path, page: Path
) -> None:
    fingerprints = put_splits([(1, 2), (2, 1)])
    for method, scores in (("clip-adapter", (180, 170)), ("linear-probe", (150, 140))):
        for seed, (n_right, fingerprint) in enumerate(zip(scores, fingerprints, strict=True), 1):
            put_runs(
                [n_right],
                seeds=[seed],
                method=method,
                settings_fingerprint=method,
                split_fingerprint=fingerprint,
            )
    write_report(root, page)
    text = page.read_text()
    assert list(rows(text, "Accuracy"))[1] == ["clip-adapter", "**87.5 (same images)**"]
    (_, row) = rows(text, "Where clip-adapter wins, and where not")
    assert row[7] == "2 of 2 (same images)"
    assert 'In 1 all draws train on the same images ("same images")' in text
    assert "`--seeds 1-10`" not in text


def test_what_was_chosen_is_told_seed_by_seed(put_runs: PutRuns, root: Path, page: Path) -> None:
    for seed, ratio in ((1, 0.2), (2, 0.4), (3, 0.2)):
        put_runs([150], seeds=[seed], settings=RunSettings(residual_ratio=ratio))
    put_runs([150] * 7, seeds=range(7), shots=8, settings=RunSettings(residual_ratio=0.6))
    write_report(root, page)
    (_, row) = rows(page.read_text(), "How settings were chosen")
    assert row == [
        *("clip-adapter", "validation", "residual ratio"),
        *("0.2, 0.4, 0.2", "0.6 (0.6 to 0.6)"),
    ]


def test_a_choice_without_a_column_of_its_own_is_shown(
    put_runs: PutRuns, root: Path, page: Path
) -> None:
    tried = tuple(
        Candidate(settings={"length": each}, validation_accuracy=0.5, validation_nll=1.0)
        for each in (0.5, 1.0)
    )
    for seed, length in ((1, 0.5), (2, 1.0)):
        put_runs([150], seeds=[seed], tried=tried, hyperparameters={"length": length})
    write_report(root, page)
    table = rows(page.read_text(), "How settings were chosen")
    assert ["clip-adapter", "validation", "length", "0.5, 1"] in list(table)


def test_settings_that_differ_tell_lines_apart(put_runs: PutRuns, root: Path, page: Path) -> None:
    for recipe in ("paper", "fast"):
        put_runs([150] * 3, settings=RunSettings(recipe=recipe), settings_fingerprint=recipe)
    write_report(root, page)
    names = [cells[0] for cells in rows(page.read_text(), "Accuracy")]
    assert names == ["method", "clip-adapter (recipe fast)", "clip-adapter (recipe paper)"]


def test_the_same_runs_give_the_same_bytes(digits: Path, page: Path, tmp_path: Path) -> None:
    first = write_report(digits, page)
    again = write_report(digits, tmp_path / "again" / page.name)
    assert again.page.read_bytes() == first.page.read_bytes()
    for one, other in zip(first.figures, again.figures, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_study_has_a_figure_and_a_table_and_stands_in_no_other(
    digits: Path, put_runs: PutRuns, page: Path
) -> None:
    for reduction, right in ((1, 150), (4, 170)):
        settings = RunSettings(reduction=reduction, recipe="paper")
        put_runs(
            [right] * 3,
            study="bottleneck-width",
            settings=settings,
            settings_fingerprint=str(reduction),
        )
    write_report(digits, page)
    assert [cells[0] for cells in rows(page.read_text(), "Accuracy")][1:] == [
        "zero-shot",
        "clip-adapter",
        "linear-probe",
    ]
    title = "Study: bottleneck-width, paper recipe"
    table = list(rows(page.read_text(), title))
    assert table[1:] == [["1", "75.0 ± 0.0"], ["4", "**85.0 ± 0.0**"]]
    assert "study-bottleneck-width-paper.svg" in section(page.read_text(), title)


def test_leaks_oracles_and_failures_are_said(digits: Path, put_runs: PutRuns, page: Path) -> None:
    put_runs([190] * 3, selected_on="test (oracle)", settings_fingerprint="oracle", n_leaked=7)
    put_runs([0], method="coop", status="failed", error="the loss is not finite")
    write_report(digits, page)
    text = page.read_text()
    assert "**Leak:** 7 test images" in text
    assert "**A method called oracle chose on the test images themselves:**" in text
    assert "clip-adapter (oracle)" in [cells[0] for cells in rows(text, "Accuracy")]
    assert "1 run of coop: the loss is not finite" in text
    # An oracle is never what the others are measured by.
    assert "Where clip-adapter wins" in text


def test_hostile_names_are_text_on_the_page(put_runs: PutRuns, root: Path, page: Path) -> None:
    hostile: dict[str, Any] = {"method": HOSTILE, "model": HOSTILE, "templates": (HOSTILE + "{}",)}
    put_runs([150] * 3, dataset=HOSTILE, **hostile)
    put_runs([150] * 3, dataset=HOSTILE, study=HOSTILE, **hostile)
    put_runs([0], dataset=HOSTILE, status="failed", error=f"{HOSTILE}\n# x", **hostile)
    write_report(root, page)
    html = MarkdownIt("commonmark").enable("table").render(page.read_text())
    assert "<script" not in html
    assert "<a " not in html
    assert "<strong>e" not in html
    assert html.count("<h1>") == 1
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in html
    assert {path.name for path in page.parent.iterdir()} == {"results.md", "results-figures"}


def test_a_dataset_can_be_asked_for_alone(digits: Path, put_runs: PutRuns, page: Path) -> None:
    put_runs([150] * 3, dataset="eurosat")
    assert write_report(digits, page, datasets=["eurosat"]).n_runs == 3
    assert "## eurosat" in page.read_text()
    assert "digits" not in page.read_text()
    with pytest.raises(UnknownNameError, match="did you mean 'eurosat'"):
        write_report(digits, page, datasets=["eurosta"])


def test_encoders_have_sections_of_their_own(put_runs: PutRuns, root: Path, page: Path) -> None:
    for encoder, model in (("aaaa", "glyphs"), ("bbbb", "ViT-B-32:openai")):
        put_runs([150] * 3, encoder=encoder, model=model)
    figures = write_report(root, page).figures
    assert sum("-accuracy" in figure.name for figure in figures) == 2
    titles = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert titles[-2:] == ["digits with ViT-B-32:openai", "digits with glyphs"]


@pytest.mark.parametrize(("n_validation", "fitted_on"), [(8, "validation"), (0, "held-out shots")])
def test_the_page_says_what_temperatures_were_fitted_on(
    put_runs: PutRuns, root: Path, page: Path, n_validation: int, fitted_on: str
) -> None:
    put_runs([150] * 3, n_validation=n_validation)
    write_report(root, page)
    header, row = rows(page.read_text(), "Calibration")
    assert (header[1], row[1]) == ("T fitted on", fitted_on)


def test_what_cannot_be_compared_is_said(digits: Path, put_runs: PutRuns, page: Path) -> None:
    put_runs([150], seeds=[9], method="taskres", settings_fingerprint="taskres")
    write_report(digits, page)
    said = "Not compared, as seeds, training images or test images are not the same: taskres at 4 shots."
    assert said in page.read_text()


def test_there_is_no_page_without_runs(
    put_runs: PutRuns, root: Path, page: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunStoreError):
        write_report(tmp_path / "nowhere", page)
    put_runs([0], status="failed", error="boom")
    with pytest.raises(RunStoreError, match="no completed runs"):
        write_report(root, page)
    assert not page.exists()


@pytest.mark.parametrize(("name", "found"), [("x.pdf", "ends in .pdf"), ("x", "has no ending")])
def test_a_page_that_is_neither_markdown_nor_html_is_refused(
    digits: Path, tmp_path: Path, name: str, found: str
) -> None:
    with pytest.raises(RunStoreError, match=rf"{name} {found}: .*\.md, \.markdown, \.html"):
        write_report(digits, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_disk_that_refuses_leaves_the_page_as_it_was(
    digits: Path, page: Path, put_runs: PutRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(digits, page)
    before = page.read_bytes()
    put_runs([100] * 3, shots=8, started_at=datetime(2026, 12, 1, tzinfo=UTC))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages.storage, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        write_report(digits, page)
    assert page.read_bytes() == before
