"""Peak memory of an extraction of few images beside that of many."""

from pathlib import Path

from benchmarks.alone import extract_alone
from benchmarks.models import save_tiny_clip
from benchmarks.pictures import put_synthetic
from benchmarks.processes import call_alone
from benchmarks.records import Figures, Value

ABOUT = (
    "peak resident memory of an extraction, each in a process of its own; a tiny random CLIP that "
    "takes pictures of 224 pixels, 150 kB each once decoded"
)
PIXELS = 224
DECODED_BYTES = PIXELS * PIXELS * 3


def measure_memory(place: Path, *, quick: bool) -> Figures:
    """The peaks at two sizes; what grows between them grows with the number of images."""
    few, many = (500, 2_000) if quick else (2_000, 20_000)
    peaks = {n: peak_bytes(place, n) for n in (few, many)}
    growth = peaks[many] - peaks[few]
    decoded = (many - few) * DECODED_BYTES
    details: dict[str, Value] = {f"peak_megabytes_{n}": round(peaks[n] / 1e6) for n in peaks}
    details["growth_bytes_an_image"] = round(growth / (many - few))
    lines = [f"{n:,} images: peak {peaks[n] / 1e6:,.0f} MB" for n in peaks]
    lines.append(
        f"growth {growth / 1e6:,.0f} MB, {growth / (many - few):,.0f} bytes an image; "
        f"decoded these {many - few:,} are {decoded / 1e6:,.0f} MB"
    )
    return Figures(name="memory", about=ABOUT, details=details, lines=tuple(lines))


def peak_bytes(place: Path, n: int) -> int:
    """Of a process that extracts n images of 64 pixels, made below `place`."""
    folder = put_synthetic(place / f"pictures-{n}", range(n))
    model = save_tiny_clip(place / "tiny-clip", pixels=PIXELS)
    measured = call_alone(extract_alone, folder=folder, root=place / f"store-{n}", model=model)
    n_encoded = measured.answer[1]
    if n_encoded != n:
        raise RuntimeError(f"{n_encoded} images were encoded; expected {n}")
    return measured.peak_bytes
