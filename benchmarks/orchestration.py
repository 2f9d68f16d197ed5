"""What Prefect adds to a sweep: the flow beside the library calls it consists of."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.orchestration_sides import N_ADAPTERS, call_library, run_flow, warm_up
from benchmarks.prefect_server import environment, running_server
from benchmarks.processes import call_alone
from benchmarks.records import Figures
from benchmarks.rounds import Spread, ratio_of, take_turns

ABOUT = (
    f"seconds of a sweep of {N_ADAPTERS} CLIP-Adapters (shots 1, 2, 4, 8, 16, 3 seeds, 6 ratios) on "
    "digits with the built-in encoder, every feature cached: the flow train-adapters against a "
    "running server, with its logs, leaderboard, summary and report, over the same functions called "
    "without Prefect; each turn in a process of its own on a fresh copy of the store, imports left "
    "out, taking turns"
)
ROUNDS = 5


def measure_orchestration(place: Path, *, quick: bool) -> Figures:
    """Compare the two, and say how many seconds more the flow takes."""
    warm = place / "warm"
    call_alone(warm_up, root=warm)
    with running_server(place / "prefect") as api:
        variables = {
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(place / "prefect"),
            "PREFECT_LOGGING_TO_API_ENABLED": "true",
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
        }
        with environment(variables):
            sides = {
                "flow": partial(_turn, run_flow, warm=warm, quick=quick),
                "library": partial(_turn, call_library, warm=warm, quick=quick),
            }
            seconds = take_turns(sides, rounds=1 if quick else ROUNDS)
    ratio = ratio_of(seconds["flow"], seconds["library"])
    more = Spread.of([a - b for a, b in zip(seconds["flow"], seconds["library"], strict=True)])
    flow, library = Spread.of(seconds["flow"]), Spread.of(seconds["library"])
    return Figures(
        name="orchestration",
        about=ABOUT,
        headlines={} if quick else {"orchestrated_over_library": ratio.median},
        details={
            "flow_seconds": flow.rounded(),
            "library_seconds": library.rounded(),
            "orchestrated_over_library": ratio.rounded(),
            "seconds_more": more.rounded(),
        },
        lines=(
            f"[bold]{N_ADAPTERS} adapters[/]: {library} s called directly, {flow} s as a flow",
            f"  {ratio} times as long, {more} s more",
        ),
    )


def _turn(side: Callable[..., float], number: int, *, warm: Path, quick: bool) -> float:
    root = shutil.copytree(warm, warm.with_name(f"{side.__name__}-{number}"))
    return call_alone(side, root=root, quick=quick).answer
