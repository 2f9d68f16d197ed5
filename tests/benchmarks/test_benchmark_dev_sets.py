"""What the benchmark of the development sets says of a blend beside single methods."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.dev_coverage import coverage_lines
from benchmarks.dev_data import DevSet
from benchmarks.dev_sets import Row, auto_lines, promotion_lines


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


def scored(
    method: str, accuracies: Sequence[float], *, on: Sequence[float], nested: Sequence[float]
) -> list[Row]:
    """One draw of each set, with the scores by which methods are compared."""
    return [
        Row(**{**vars(row), "on_held_out": naive, "nested_held_out": honest})
        for row, naive, honest in zip(rows(method, accuracies), on, nested, strict=True)
    ]


def test_the_score_of_the_choice_itself_promotes_the_better_method() -> None:
    """Tip-Adapter has many settings, the best of which looks good on the images that chose it."""
    many = scored("tip-adapter", [60.0, 70.0], on=[75.0, 75.0], nested=[61.0, 69.0])
    few = scored("gda", [65.0, 68.0], on=[66.0, 67.0], nested=[66.0, 67.0])
    found = list(promotion_lines([*many, *few, *rows("auto", [70.0, 70.0])]))
    assert "by images that chose: 65.00, scores +5.00 over all methods" in found[2]
    assert found[3].startswith("scored by the choice itself: 67.50, ")
    assert "+10.00 of tip-adapter" in found[2]
    assert found[4] == "the best fixed choice, gda: 66.50"
    assert found[5] == "auto, the challenger where it was trained: 70.00"
    assert not [line for line in found if line.endswith("!")]


def test_a_score_that_promotes_the_worse_method_is_marked() -> None:
    one = scored("tip-adapter", [60.0, 70.0], on=[75.0, 75.0], nested=[75.0, 75.0])
    other = scored("gda", [65.0, 72.0], on=[66.0, 67.0], nested=[66.0, 67.0])
    found = list(promotion_lines([*one, *other, *rows("auto", [60.0, 60.0])]))
    assert [line.split(":")[0] for line in found if line.endswith("!")] == [
        "scored by the choice itself",
        "auto, the challenger where it was trained",
    ]


def test_methods_that_no_image_scores_take_no_part() -> None:
    assert list(promotion_lines(rows("gda", [60.0]) + rows("ss-text", [60.0]))) == []


def test_sets_of_a_small_dataset_cover_as_often_as_they_may() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 32))

    def drawn(part: str, n_images: int) -> dict[str, np.ndarray]:
        labels = np.repeat(np.arange(10), n_images)
        features = centres[labels] + 1.5 * random.normal(size=(len(labels), 32))
        return {f"{part}_features": features, f"{part}_labels": labels}

    prototypes = centres + random.normal(size=centres.shape)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    arrays = drawn("train", 16) | drawn("val", 12) | drawn("dev", 20) | {"prototypes": prototypes}
    found = list(coverage_lines([DevSet(name="drawn", arrays=arrays)], n_resplits=100))
    assert found[2].startswith("drawn            120 images calibrate, ")
    assert not found[2].endswith("!")
    assert "of 1 classes left out" in found[4]
