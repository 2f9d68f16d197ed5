"""The linear probe's search for C, beside scikit-learn as it comes."""

from functools import partial
from pathlib import Path

from benchmarks.linear_probe_sides import WIDTH, Searched, search_now, search_with_sklearn
from benchmarks.processes import call_alone
from benchmarks.records import Figures, Value
from benchmarks.rounds import Spread, ratio_of, take_turns

ABOUT = (
    "seconds of the linear probe's search for C (seven values from 1e-6 to 1e6, then four rounds that "
    "try both neighbours of the best) among 102 classes with 16 random images each, width 512, with the "
    "geometry of CLIP's features, and 4 validation images a class: scikit-learn's LogisticRegression "
    "with as many BLAS threads as cores over the method; in processes of their own, taking turns, "
    "other images every round"
)
CLASSES, SHOTS, ROUNDS = 102, 16, 3
QUICK_CLASSES, QUICK_ROUNDS = 20, 1


def measure_linear_probe(_: Path, *, quick: bool) -> Figures:
    """Compare the two, and what they choose."""
    classes = QUICK_CLASSES if quick else CLASSES
    searched: dict[str, list[Searched]] = {"sklearn": [], "method": []}

    def turn(side: str, search: partial[Searched], number: int) -> float:
        searched[side].append(call_alone(search.func, seed=number, **search.keywords).answer)
        return searched[side][-1].seconds

    sides = {
        "sklearn": partial(search_with_sklearn, classes=classes, shots=SHOTS),
        "method": partial(search_now, classes=classes, shots=SHOTS),
    }
    seconds = take_turns(
        {side: partial(turn, side, search) for side, search in sides.items()},
        rounds=QUICK_ROUNDS if quick else ROUNDS,
    )
    ratio = ratio_of(seconds["sklearn"], seconds["method"])
    cpu = {side: [each.cpu_seconds for each in some] for side, some in searched.items()}
    details: dict[str, Value] = {
        "classes": classes,
        "shots": SHOTS,
        "width": WIDTH,
        "sklearn_over_method": ratio.rounded(),
        "sklearn_over_method_cpu": ratio_of(cpu["sklearn"], cpu["method"]).rounded(),
        **{f"{side}_seconds": Spread.of(some).rounded() for side, some in seconds.items()},
        **{f"{side}_cpu_seconds": Spread.of(some).rounded() for side, some in cpu.items()},
        **_choices(searched["sklearn"], searched["method"]),
    }
    return Figures(
        name="linear_probe",
        about=ABOUT,
        headlines={} if quick else {"linear_probe_over_sklearn": ratio.median},
        details=details,
        lines=(
            f"[bold]{classes} classes, {SHOTS} shots[/]: {ratio} times as fast as scikit-learn",
            f"  {Spread.of(seconds['method'])} s, scikit-learn {Spread.of(seconds['sklearn'])} s",
            f"  the same C in {details['rounds_of_same_c']} of {details['rounds']} rounds",
            f"  accuracy differs by {details['largest_accuracy_difference']} at most",
        ),
    )


def _choices(expected: list[Searched], found: list[Searched]) -> dict[str, Value]:
    pairs = list(zip(expected, found, strict=True))
    return {
        "rounds": len(pairs),
        "rounds_of_same_c": sum(one.value == other.value for one, other in pairs),
        "largest_accuracy_difference": max(
            abs(one.accuracy - other.accuracy) for one, other in pairs
        ),
        "chosen_c": ", ".join(f"{other.value:.4g}" for _, other in pairs),
        "validation_accuracy": ", ".join(f"{other.accuracy:.4f}" for _, other in pairs),
    }
