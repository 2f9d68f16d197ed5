import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clip_adapter.report.numbers import listed, mean_of, percent


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_the_interval_of_a_mean_is_students(values: list[float]) -> None:
    found = mean_of(values)
    assert found.value == pytest.approx(stats.tmean(values))
    expected = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    # Standard deviations of nearly equal numbers lose some digits in either's summation.
    assert found.half_width == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found.low <= found.value <= found.high


def test_a_single_value_has_no_interval() -> None:
    found = mean_of([0.5])
    assert (found.half_width, found.low, found.high) == (None, 0.5, 0.5)
    assert percent(found) == "50.0"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["1", "2", "4"], "1, 2 and 4")],
)
def test_words_are_listed_as_in_a_sentence(words: list[str], sentence: str) -> None:
    assert listed(words) == sentence
