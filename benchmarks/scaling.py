"""How listing and looking grow with files and rows: what docs/scaling.md rests on."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import call_alone
from benchmarks.records import Figures, Value
from benchmarks.scaling_sides import (
    compact_features,
    look_for_features,
    look_into_runs,
    put_features,
    put_index,
    put_runs,
    size_of_predictions,
    take_index,
)

FILES = (1_000, 10_000)
IMAGES = (100_000, 1_000_000)
RUNS = (1_000, 10_000, 100_000)
RUNS_A_FILE = (15, 1_000)
QUICK = 10
"""A quick look takes a tenth of everything."""
ABOUT = (
    "a store written by our own writers: seconds to list so many feature files of 16 rows and to find "
    "that nothing is missing (every file read and verified), before and after they are merged; to "
    "read a dataset's index, with the peak of a process that does nothing else; to ask "
    "which runs are recorded, over so many runs at 15 or 1,000 runs a file, without predictions; and stored bytes a prediction"
)


def measure_scaling(place: Path, *, quick: bool) -> Figures:
    """Measure each at two or three sizes, a process each."""
    share = QUICK if quick else 1
    figures: dict[str, Value] = {}
    for files in FILES:
        figures |= _features(place / f"features-{files}", files // share)
    for images in IMAGES:
        figures |= _index(place / f"index-{images}", images // share)
    for runs in RUNS:
        for a_file in RUNS_A_FILE:
            # A hundred thousand runs in files of fifteen are for the compaction to prevent.
            if runs // a_file <= RUNS[1]:
                figures |= _runs(place / f"runs-{runs}-{a_file}", runs // share, a_file)
    root = place / "predictions"
    figures["bytes_a_prediction"] = _rounded(
        call_alone(size_of_predictions, root=root, images=10_000).answer
    )
    return Figures(name="scaling", about=ABOUT, details=figures, lines=tuple(_lines(figures)))


def _features(root: Path, files: int) -> dict[str, Value]:
    a_file = call_alone(put_features, root=root, files=files).answer
    listed, found = call_alone(look_for_features, root=root, files=files).answer
    merging = call_alone(compact_features, root=root).answer
    _, found_again = call_alone(look_for_features, root=root, files=files).answer
    return {
        f"seconds_to_write_a_file_at_{files}": _rounded(a_file),
        f"seconds_to_list_files_{files}": _rounded(listed),
        f"seconds_to_find_features_in_files_{files}": _rounded(found),
        f"seconds_to_merge_files_{files}": _rounded(merging),
        f"seconds_to_find_features_in_files_{files}_merged": _rounded(found_again),
    }


def _index(root: Path, images: int) -> dict[str, Value]:
    root.mkdir()
    written = call_alone(put_index, root=root, images=images).answer
    taken = call_alone(take_index, root=root, images=images)
    return {
        f"seconds_to_write_index_{images}": _rounded(written),
        f"seconds_to_read_index_{images}": _rounded(taken.answer),
        f"peak_megabytes_of_reading_index_{images}": round(taken.peak_bytes / 1e6),
    }


def _runs(root: Path, runs: int, a_file: int) -> dict[str, Value]:
    call_alone(put_runs, root=root, runs=runs, a_file=a_file)
    asked = call_alone(look_into_runs, root=root)
    which = f"{runs}_by_{a_file}"
    return {
        f"seconds_to_know_runs_{which}": _rounded(asked.answer),
        f"peak_megabytes_of_runs_{which}": round(asked.peak_bytes / 1e6),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _lines(figures: dict[str, Value]) -> Iterator[str]:
    for name, value in figures.items():
        yield f"{name.replace('_', ' ')}: {value}"
