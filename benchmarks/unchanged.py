"""A second extraction of a dataset in which nothing has changed."""

from functools import partial
from pathlib import Path

from benchmarks.alone import extract_alone
from benchmarks.models import save_tiny_clip
from benchmarks.pictures import eurosat_archive, put_eurosat, put_synthetic
from benchmarks.processes import call_alone
from benchmarks.records import Figures
from benchmarks.rounds import Spread

N_IMAGES = 27_000
ROUNDS = 3
WIDTH = 512  # of the features, as CLIP's


def measure_unchanged(place: Path, *, quick: bool) -> Figures:
    """Seconds of indexing and finding that all features are there, each in a new process."""
    n = 2_000 if quick else N_IMAGES
    archive = eurosat_archive()
    put = partial(put_eurosat, archive) if archive else put_synthetic
    folder, kind = put(place / "pictures", range(n)), "EuroSAT" if archive else "synthetic"
    model = save_tiny_clip(place / "tiny-clip", pixels=16, width=WIDTH)
    extract = partial(call_alone, extract_alone, folder=folder, root=place / "store", model=model)
    first = extract().answer
    seconds = []
    for _ in range(ROUNDS):
        again = extract().answer
        if (first[1], again[1]) != (n, 0):
            raise RuntimeError(f"encoded {first[1]}, then {again[1]}; expected {n}, then 0")
        seconds.append(again[0])
    spread = Spread.of(seconds)
    return Figures(
        name="unchanged",
        about=f"seconds of a second extraction of {n:,} {kind} images, process start excluded",
        details={"images": n, "first_seconds": round(first[0], 1), "seconds": spread.rounded()},
        lines=(f"{n:,} images: {spread} s; the first time {first[0]:.0f} s",),
    )
