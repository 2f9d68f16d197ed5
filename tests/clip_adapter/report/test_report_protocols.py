"""A report shows what was trained on half of the classes, and what was tested on other datasets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clip_adapter.report import write_report
from clip_adapter.runs import EvaluatedOn, RunResult, RunStore, connect, query, read_runs

PutRuns = Callable[..., None]
MEANS = ("base", "new", "harmonic_mean", "accuracy_source", "accuracy_target")


def cells(text: str, begin: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith(f"| {begin} |")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def page_of(root: Path, folder: Path) -> str:
    written = write_report(root, folder / "page.md")
    return written.page.read_text()


def halve(root: Path, results: list[RunResult]) -> None:
    """Record runs again as if half of the classes had trained: 0.9 and 0.6, 0.8 and 0.4."""
    halves = [(0.9, 0.6), (0.8, 0.4)]
    RunStore(root).record(
        [
            replace(
                each,
                run=replace(
                    each.run,
                    run_id=f"{1_000 + place:032x}",
                    fingerprint=f"halves-{place}",
                    protocol="base-to-new",
                    image_choice="budget:8",
                ),
                metrics={("test-base", "accuracy"): base, ("test-new", "accuracy"): new},
            )
            for place, (each, (base, new)) in enumerate(zip(results, halves, strict=True))
        ]
    )


def test_base_to_new_is_in_a_report_without_a_leaderboard(
    put_runs: PutRuns, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    put_runs([160, 170], seeds=[1, 2])
    with connect(root) as database:
        halve(other, read_runs(database))
    page = page_of(other, tmp_path)
    assert "### Accuracy" not in page
    (row,) = cells(page, "clip-adapter (budget of 8 images)")
    # The harmonic means are 0.72 and 0.5333; Student's t for one degree of freedom is 12.71.
    assert row[1:] == ["4 shots", "85.0 ± 63.5", "50.0 ± 127.1", "62.7 ± 118.6"]


def test_other_datasets_stand_beside_the_own_test_split(
    put_runs: PutRuns, root: Path, tmp_path: Path
) -> None:
    put_runs([160, 170], seeds=[1, 2])
    put_runs(
        [100, 120],
        seeds=[1, 2],
        protocol="domain-shift",
        tested_on=EvaluatedOn(dataset="sketches"),
        n_test=77,
    )
    page = page_of(root, tmp_path)
    (row,) = cells(page, "sketches")
    # Student's t for one degree of freedom is 12.71.
    assert row[:4] == ["sketches", "domain shift", "clip-adapter", "4 shots"]
    assert row[4:] == ["82.5 ± 31.8", "55.0 ± 63.5"]
    assert "200 test images" in page  # and not those of the other dataset
    assert query(root, "SELECT seeds FROM shift_means").to_pylist() == [{"seeds": 2}]
