"""Extraction of features beside the bare image tower, and beside the script people write today."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.models import VIT_B_32, save_vit_b_32
from benchmarks.pictures import PHOTO, TILE, eurosat_archive, put_eurosat, put_synthetic
from benchmarks.records import Figures, Value
from benchmarks.rounds import Spread, ratio_of, take_turns
from benchmarks.sides import BATCH_SIZE, PlainScript, bare_forward, extract, ready_batches
from clip_adapter.encoders import Encoder, load_encoder

ABOUT = (
    f"images a second of the whole extraction of {VIT_B_32} (random weights), its model loaded: "
    "read, digest, decode, index, cut, forward, write; over a bare forward loop on ready tensors "
    "(same model, batch size 64 and precision), and over open_clip's fp32 model and transform in "
    "a loop over a DataLoader with its defaults; in one process, taking turns on the same pictures"
)
HEADLINE_PICTURES = "tiles"
Put = Callable[[Path, range], Path]


@dataclass(frozen=True)
class _Size:
    images: int  # a round, a multiple of the batch size
    rounds: int


QUICK = _Size(128, 2)
SIZES = {"tiles": _Size(256, 3), "eurosat": _Size(128, 3), "photos": _Size(128, 3)}


@dataclass(frozen=True)
class _Contest:
    """What all rounds share.

    Attributes:
        place: A folder for pictures and stores.
        encoders: By precision.
        plain: The other side, with the same weights.
    """

    place: Path
    encoders: dict[str, Encoder]
    plain: PlainScript

    def rates(self, kind: str, put: Put, size: _Size) -> dict[str, list[float]]:
        """Images a second by side, round by round; every round has pictures of its own."""
        n = size.images
        self._warm_up(put(self.place / f"{kind}-first", range(BATCH_SIZE)))
        folders = [
            put(self.place / f"{kind}-{number}", range(number * n, (number + 1) * n))
            for number in range(1, size.rounds + 1)
        ]
        sides: dict[str, Callable[[int], float]] = {}
        for precision in self.encoders:
            sides[f"extract_{precision}"] = partial(self._extract, folders, precision)
            sides[f"bare_{precision}"] = partial(self._bare, folders, precision)
        if kind == HEADLINE_PICTURES:
            sides["plain_fp32"] = lambda number: self.plain.extract(folders[number])
        return take_turns(sides, rounds=size.rounds)

    def _extract(self, folders: list[Path], precision: str, number: int) -> float:
        root = self.place / f"store-{precision}"
        return extract(folders[number], self.encoders[precision], root=root)

    def _bare(self, folders: list[Path], precision: str, number: int) -> float:
        encoder = self.encoders[precision]
        batches = ready_batches(folders[number], encoder, root=self.place / "ready")
        return bare_forward(batches, encoder)

    def _warm_up(self, folder: Path) -> None:
        """So that prompts are stored, and nothing is done for the first time later."""
        for precision in self.encoders:
            self._extract([folder], precision, 0)


def measure_extract(place: Path, *, quick: bool) -> Figures:
    """Every kind of pictures, at every precision that this processor has arithmetic for."""
    precisions = ["fp32", "bf16"] if _bf16_pays() else ["fp32"]
    weights = save_vit_b_32(place)
    contest = _Contest(
        place,
        {
            name: load_encoder(f"{VIT_B_32}:{weights}", batch_size=BATCH_SIZE, precision=name)
            for name in precisions
        },
        PlainScript.load(weights),
    )
    fastest = precisions[-1]
    headlines: dict[str, float] = {}
    details: dict[str, Value] = {"plain_loop_compared_with": fastest}
    lines = [] if fastest == "bf16" else ["bf16 skipped: this processor has no arithmetic for it"]
    for kind, put in _kinds(quick=quick):
        rates = contest.rates(kind, put, QUICK if quick else SIZES[kind])
        ratios = dict(_ratios(rates, precisions))
        details |= {f"{kind}_{name}_per_second": Spread.of(rates[name]).rounded() for name in rates}
        details |= {f"{kind}_{name}": ratio.rounded() for name, ratio in ratios.items()}
        lines += _lines(kind, rates, ratios)
        if kind == HEADLINE_PICTURES:
            headlines = {
                "extract_over_bare_forward": ratios["extract_fp32_over_bare_fp32"].median,
                "extract_over_plain_loop": ratios[f"extract_{fastest}_over_plain_fp32"].median,
            }
    return Figures(
        name="extract", about=ABOUT, headlines=headlines, details=details, lines=tuple(lines)
    )


def _kinds(*, quick: bool) -> Iterator[tuple[str, Put]]:
    yield HEADLINE_PICTURES, partial(put_synthetic, size=TILE)
    if quick:
        return
    archive = eurosat_archive()
    if archive:
        yield "eurosat", partial(put_eurosat, archive)
    yield "photos", partial(put_synthetic, size=PHOTO)


def _ratios(rates: dict[str, list[float]], precisions: list[str]) -> Iterator[tuple[str, Spread]]:
    for precision in precisions:
        ours = f"extract_{precision}"
        for other in (f"bare_{precision}", "plain_fp32"):
            if other in rates:
                yield f"{ours}_over_{other}", ratio_of(rates[ours], rates[other])


def _lines(kind: str, rates: dict[str, list[float]], ratios: dict[str, Spread]) -> Iterator[str]:
    yield f"[bold]{kind}[/], images/s: " + ", ".join(
        f"{name} {Spread.of(values).median:.1f}" for name, values in rates.items()
    )
    yield from (f"  {name}: {ratio}" for name, ratio in ratios.items())


def _bf16_pays() -> bool:
    """Whether a matrix product is faster in bf16; without arithmetic for it, it is far slower."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.ones(512, 512, dtype=kind)
        for _ in range(2):  # the first one also sets up
            start = time.perf_counter()
            _ = matrix @ matrix
            seconds[kind] = time.perf_counter() - start
    return seconds[torch.bfloat16] < seconds[torch.float32]
