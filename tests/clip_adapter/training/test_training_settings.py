"""How long and how fast an adapter trains."""

import math
from typing import Any

import pytest

from clip_adapter.training import SettingsError, TrainingSettings


@pytest.mark.parametrize(
    ("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (8, 200), (16, 200), (100, 200)]
)
def test_more_shots_train_longer(shots: int, epochs: int) -> None:
    assert TrainingSettings().epochs_for(shots) == epochs


def test_given_epochs_hold_for_any_number_of_shots() -> None:
    assert {TrainingSettings(epochs=7).epochs_for(shots) for shots in (1, 4, 16)} == {7}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("epochs", 0, "1 or more"),
        ("batch_size", 0, "1 or more"),
        ("weight_decay", -1e-9, "0 or more"),
        ("weight_decay", math.nan, "0 or more"),
        ("weight_decay", math.inf, r"at most 1e\+15"),
        ("learning_rate", 0.0, "more than 0"),
        ("learning_rate", -1.0, "more than 0"),
        ("learning_rate", math.nan, "more than 0"),
        ("learning_rate", 1e16, r"at most 1e\+15"),
    ],
)
def test_a_number_outside_its_range_is_refused(setting: str, value: float, expected: str) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(SettingsError, match=rf"{setting} is .*; expected .*{expected}"):
        TrainingSettings(**settings)
