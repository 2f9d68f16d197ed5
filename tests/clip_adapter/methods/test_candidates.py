"""Which candidate wins on validation."""

from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.methods import Candidate
from clip_adapter.methods.selection import best_candidate


def candidate(accuracy: float, nll: float) -> Candidate:
    return Candidate(
        settings={"residual_ratio": 0.0}, validation_accuracy=accuracy, validation_nll=nll
    )


def test_the_highest_accuracy_wins_whatever_its_likelihood() -> None:
    assert best_candidate([candidate(0.5, 0.1), candidate(0.75, 9.0), candidate(0.25, 0.0)]) == 1


def test_of_equal_accuracies_the_lower_negative_log_likelihood_wins() -> None:
    assert best_candidate([candidate(0.5, 0.3), candidate(0.5, 0.2), candidate(0.25, 0.1)]) == 1


def test_of_equals_the_earlier_wins() -> None:
    assert best_candidate([candidate(0.25, 0.2), candidate(0.5, 0.2), candidate(0.5, 0.2)]) == 1


@given(
    st.lists(
        st.builds(candidate, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.1, 0.2])),
        min_size=1,
    )
)
def test_no_candidate_beats_the_winner(candidates: list[Candidate]) -> None:
    winner = candidates[best_candidate(candidates)]
    for other in candidates:
        assert other.validation_accuracy <= winner.validation_accuracy
        if other.validation_accuracy == winner.validation_accuracy:
            assert other.validation_nll >= winner.validation_nll
