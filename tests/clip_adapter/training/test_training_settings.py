"""How long and how fast an adapter trains."""

import math
from typing import Any

import pytest

from clip_adapter.training import Recipe, SettingsError, TrainingSettings

RECIPES = {
    "paper": Recipe(
        optimizer="sgd",
        learning_rate=0.002,
        weight_decay=5e-4,
        momentum=0.9,
        epochs=((1, 50), (4, 100), (16, 200)),
        batch_size=32,
        warmup_epochs=1,
        schedule="epochs",
    ),
    "fast": Recipe(
        optimizer="adamw", learning_rate=0.1, weight_decay=0.01, epochs=((1, 10),), batch_size=8
    ),
}


@pytest.mark.parametrize(
    ("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (8, 200), (16, 200), (100, 200)]
)
def test_more_shots_train_longer(shots: int, epochs: int) -> None:
    assert TrainingSettings().resolve(RECIPES, shots=shots).epochs == epochs


def test_what_is_given_holds_and_the_rest_is_the_recipes() -> None:
    asked = TrainingSettings(recipe="fast", epochs=7, weight_decay=0.0, optimizer="sgd")
    found = asked.resolve(RECIPES, shots=16)
    assert (found.epochs, found.weight_decay, found.optimizer) == (7, 0.0, "sgd")
    assert (found.batch_size, found.learning_rate, found.momentum) == (8, 0.1, 0.0)


def test_by_epochs_the_rate_warms_up_for_one_and_falls_along_half_a_cosine() -> None:
    training = TrainingSettings(epochs=4).resolve(RECIPES, shots=1)
    rates = [training.learning_rate_at(epoch, 0.5) for epoch in range(4)]
    cosines = [(1 + math.cos(math.pi * done / 4)) / 2 for done in range(3)]
    assert rates == pytest.approx([1e-5, *(0.002 * cosine for cosine in cosines)])


def test_by_steps_the_rate_falls_within_an_epoch() -> None:
    training = TrainingSettings(recipe="fast", epochs=2).resolve(RECIPES, shots=1)
    assert training.learning_rate_at(0) == pytest.approx(0.1)
    assert training.learning_rate_at(0, 0.5) == pytest.approx(0.1 * (1 + math.sqrt(0.5)) / 2)
    assert training.learning_rate_at(1) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("epochs", 0, "1 or more"),
        ("batch_size", 0, "1 or more"),
        ("weight_decay", -1e-9, "0 or more"),
        ("weight_decay", math.nan, "0 or more"),
        ("weight_decay", math.inf, r"at most 1e\+15"),
        ("momentum", 1.0, "below 1"),
        ("momentum", -0.1, "0 or more"),
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
