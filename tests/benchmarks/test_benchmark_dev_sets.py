"""What the benchmark of the development sets says of a blend beside single methods."""

from collections.abc import Sequence

import pytest

from benchmarks.dev_sets import Row, auto_lines


def rows(method: str, accuracies: Sequence[float], *, seconds: float = 1.0) -> list[Row]:
    """One draw of four sets, whose zero-shot accuracy is 50."""
    return [
        Row(
            method=method,
            dataset=f"set {number}",
            shots=4,
            draw=1,
            zero_shot=50.0,
            validation=0.0,
            held_out_shots=accuracy,
            defaults=0.0,
            hindsight=0.0,
            cpu_seconds=seconds,
        )
        for number, accuracy in enumerate(accuracies)
    ]


def test_a_method_that_meets_everything_has_no_mark() -> None:
    found = list(
        auto_lines(
            [
                *rows("auto", [60.0, 71.0, 81.0, 91.0], seconds=5.0),
                *rows("gda", [60.0, 70.0, 80.0, 90.0]),
                *rows("clip-adapter", [59.0, 71.0, 79.0, 89.0]),
            ]
        )
    )
    assert not [line for line in found if line.endswith("!")]
    assert "mean of auto 75.75, of the best single method, gda, 75.00" in found
    assert any("the best of each set and number of shots: +0.50" in line for line in found)
    assert any("20 s, 2.50 times that of" in line for line in found)


@pytest.mark.parametrize(
    ("accuracies", "seconds", "marked"),
    [
        ([60.0, 69.0, 80.0, 90.0], 1.0, "mean of auto"),
        ([60.0, 70.0, 90.0, 80.0], 1.0, "auto minus"),
        ([49.4, 99.0, 99.0, 99.0], 1.0, "lowest above zero-shot: -0.60 (set 0 4)"),
        ([60.0, 70.0, 80.0, 90.0], 4.0, "processor time"),
    ],
)
def test_what_is_not_met_is_marked(
    accuracies: Sequence[float], seconds: float, marked: str
) -> None:
    found = list(
        auto_lines(
            [
                *rows("auto", accuracies, seconds=seconds),
                *rows("gda", [60.0, 70.0, 80.0, 90.0]),
            ]
        )
    )
    assert any(line.startswith(marked) and line.endswith("!") for line in found)


def test_other_draws_of_single_methods_are_left_out() -> None:
    other = [
        Row(**{**vars(row), "draw": 2, "held_out_shots": 100.0})
        for row in rows("gda", [60.0, 70.0, 80.0, 90.0])
    ]
    one = [*rows("auto", [60.0, 70.0, 80.0, 90.0]), *rows("gda", [60.0, 70.0, 80.0, 90.0])]
    assert list(auto_lines([*one, *other])) == list(auto_lines(one))


def test_without_the_method_nothing_is_said() -> None:
    assert list(auto_lines(rows("gda", [60.0]))) == []
