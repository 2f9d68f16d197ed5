"""The summary of a training: what it shows, what it leaves out, and that names are escaped."""

import base64
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from clip_adapter.pipeline.summary import summarize
from clip_adapter.pipeline.train import TrainedRuns
from clip_adapter.runs import ExtractionRecord, record_extraction
from feature_cache import QUARANTINE_SCHEMA
from feature_cache.parquet_file import write_table

PutRuns = Callable[..., None]
ENCODER = "0123456789abcdef"
HOSTILE = "a|b<script>window.hit=1</script>[c](javascript:d)![e](http://f.g/h.png) `i`\n# j"
RUNS = TrainedRuns(sweep_id="sweep", n_trained=13, n_reused=2, seconds=27.7)


def summary(
    root: Path, decision: str = "", excluded: dict[str, int] | None = None, **places: str
) -> str:
    """The summary of a training that reused all features."""
    dataset = SimpleNamespace(
        root=root, name="digits", index_fingerprint="index", excluded=excluded or {}
    )
    encoded = SimpleNamespace(dataset=dataset, encoder=ENCODER, n_encoded=0, n_reused=27_000)
    promotion = SimpleNamespace(summary=decision) if decision else None
    training: Any = SimpleNamespace(encoded=encoded, runs=RUNS, promotion=promotion)
    return summarize(training, device="cpu", **places).markdown


def measured(root: Path, *, n_encoded: int, seconds: float) -> None:
    record_extraction(
        root,
        ExtractionRecord(
            extraction_id="0" * 32,
            started_at=datetime(2026, 11, 23, tzinfo=UTC),
            dataset="digits",
            index_fingerprint="index",
            encoder=ENCODER,
            model="glyphs",
            device="cpu",
            n_encoded=n_encoded,
            n_reused=0,
            seconds=seconds,
        ),
    )


def cells(text: str, title: str) -> list[list[str]]:
    lines = text.partition(f"### {title}")[2].partition("\n#")[0].splitlines()
    found = [line for line in lines if line.startswith("|") and "--" not in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found]


def test_it_shows_what_was_trained_and_what_was_saved(digits: Path) -> None:
    measured(digits, n_encoded=1100, seconds=100.0)
    text = summary(digits)
    assert "13 runs trained in 28 s, 2 recorded already. 0 images encoded; 27,000 features" in text
    assert "reused, 40 min 55 s of encoding saved (at 11 images/s, recorded" in text.replace(
        "\n", " "
    )


def test_without_a_measured_rate_no_time_is_named(digits: Path) -> None:
    text = summary(digits)
    assert "27,000 features reused." in text
    assert "saved" not in text


def test_every_method_is_compared_with_zero_shot_with_its_interval(digits: Path) -> None:
    header, ours, probe = cells(summary(digits), "Against zero-shot")
    assert header == ["method", "1 shot", "4 shots"]
    # 22 of 200 images at a standard error of 2.2 points, and seeds half a point apart: Student's t
    # of 199 and of 2 degrees times 2.2 and 1.0 / sqrt(3), added as squares.
    assert ours[1] == "**+11.0 (+6.1 to +15.9)**"
    # Behind at two of three seeds, ahead at the third: not bold.
    assert probe[1].startswith("-3.3 (")


def test_the_table_is_corrected_for_its_cells(put_runs: PutRuns, root: Path) -> None:
    put_runs([120], seeds=[None], method="zero-shot", shots=0, split_fingerprint="")
    put_runs([127], seeds=[1])  # McNemar: 2 * 0.5 ** 7 = 0.016
    assert cells(summary(root), "Against zero-shot")[1][1].startswith("**+3.5 (")
    for number in range(3):
        put_runs([120], seeds=[1], method=f"other-{number}", settings_fingerprint=f"{number}")
    assert cells(summary(root), "Against zero-shot")[1][1].startswith("+3.5 (")


def test_without_zero_shot_there_is_nothing_to_compare_with(put_runs: PutRuns, root: Path) -> None:
    put_runs([150, 150, 150])
    assert "Against zero-shot" not in summary(root)


def test_the_picture_is_inside(digits: Path) -> None:
    (address,) = re.findall(r"\(data:image/png;base64,([^)]*)\)", summary(digits))
    content = base64.b64decode(address)
    assert Image.open(io.BytesIO(content)).width > 700
    assert len(content) < 150_000


def test_zero_shot_alone_has_a_picture_too(put_runs: PutRuns, root: Path) -> None:
    put_runs([120], seeds=[None], method="zero-shot", shots=0, split_fingerprint="")
    text = summary(root)
    assert "data:image/png;base64," in text
    assert "By zero-shot, summed over seeds" in text


def test_a_decision_about_the_champion_is_shown(digits: Path) -> None:
    decision = "kept: 3.1 points behind on validation"
    assert f"**Champion:** {decision}" in summary(digits, decision)
    assert "Champion" not in summary(digits)


def test_quarantined_files_are_named_and_many_of_them_counted(digits: Path) -> None:
    rows = [
        {"index_fingerprint": "index", "dataset": "digits", "path": f"{n:02}.jpg", "reason": "bad"}
        for n in range(12)
    ]
    write_table(
        digits / "datasets" / "digits" / "quarantine",
        pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA),
        kind="dataset-quarantine",
        owner="digits",
    )
    text = summary(digits)
    assert "### Quarantined: 12 files\n\n- 00.jpg: bad\n" in text
    assert "- and 2 more: `SELECT * FROM quarantine`" in text


def test_files_that_are_not_used_are_counted_by_reason(digits: Path) -> None:
    text = summary(digits, excluded={"not an image": 1200, "two labels": 1})
    assert "### Not used\n\n- 1,200 files: not an image\n- 1 file: two labels\n" in text
    assert "Not used" not in summary(digits)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"report_path": "/r/x.html"}, "The whole report: /r/x.html"),
        (
            {"report_path": "/r/x.html", "report_url": "https://h/x.html"},
            "[The whole report](https://h/x.html): /r/x.html",
        ),
    ],
)
def test_the_report_is_a_link_where_it_has_an_address(
    digits: Path, places: dict[str, str], said: str
) -> None:
    assert said in summary(digits, **places)


def test_hostile_names_are_escaped(put_runs: PutRuns, root: Path) -> None:
    named: dict[str, Any] = {"model": HOSTILE, "class_names": (HOSTILE, HOSTILE)}
    put_runs([150, 150, 150], **named)
    html = MarkdownIt("commonmark").enable(["table"]).render(summary(root))
    assert "<script" not in html
    assert re.findall(r'href="([^"]*)"', html) == []
    assert [address[:21] for address in re.findall(r'<img src="([^"]*)"', html)] == [
        "data:image/png;base64"
    ]
    assert "window.hit=1" in html
