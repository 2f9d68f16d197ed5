"""Methods by name, and settings checked before anything is trained."""

from typing import Any

import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.methods import METHODS, ClipAdapter, LinearProbe, create_method
from clip_adapter.training import SettingsError, TrainingSettings


def test_the_methods_are_known_by_their_own_names() -> None:
    assert {name: method.name for name, method in METHODS.items()} == {
        name: name for name in METHODS
    }
    assert {"zero-shot", "linear-probe", "clip-adapter", "coop"} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_without_settings_a_method_has_its_defaults(name: str) -> None:
    assert create_method(name) == METHODS[name]() == create_method(name, {})


def test_settings_of_the_training_stand_beside_the_methods_own() -> None:
    given = {"residual_ratios": [0.2, 0.6], "reduction": 8, "learning_rate": 0.01, "epochs": 5}
    assert create_method("clip-adapter", given) == ClipAdapter(
        residual_ratios=(0.2, 0.6),
        reduction=8,
        training=TrainingSettings(learning_rate=0.01, epochs=5),
    )


def test_text_from_a_command_line_becomes_numbers() -> None:
    given = {"max_iterations": "50", "refinements": "0"}
    assert create_method("linear-probe", given) == LinearProbe(max_iterations=50, refinements=0)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("clip-adaptor", "clip-adapter"), ("zeroshot", "zero-shot"), ("Linear-Probe", "linear-probe")],
)
def test_an_unknown_method_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown method '{typed}': did you mean '{meant}'"):
        create_method(typed)


def test_a_method_like_no_other_lists_them_all() -> None:
    with pytest.raises(UnknownNameError, match="choose one of: zero-shot, linear-probe, clip-"):
        create_method("xyz")


@pytest.mark.parametrize(
    ("method", "typed", "meant"),
    [
        ("clip-adapter", "residual_ratio", "residual_ratios"),
        ("clip-adapter", "learning-rate", "learning_rate"),
        ("linear-probe", "max_iteration", "max_iterations"),
    ],
)
def test_an_unknown_setting_names_the_nearest(method: str, typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown setting of {method} .*'{meant}'"):
        create_method(method, {typed: 1})


def test_a_setting_of_one_method_is_unknown_to_another() -> None:
    with pytest.raises(UnknownNameError, match="unknown setting of zero-shot 'epochs'"):
        create_method("zero-shot", {"epochs": 3})


def test_the_training_is_not_given_as_a_whole() -> None:
    with pytest.raises(UnknownNameError, match="unknown setting of clip-adapter 'training'"):
        create_method("clip-adapter", {"training": {"epochs": 3}})


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("clip-adapter", {"reduction": "four"}, "reduction is 'four': .*integer"),
        ("clip-adapter", {"reduction": 2.5}, "reduction is 2.5: .*integer"),
        ("clip-adapter", {"reduction": 0}, "reduction is 0; expected 1 or more"),
        ("clip-adapter", {"residual_ratios": [0.1, 1.5]}, r"is \(0.1, 1.5\); expected .*0 to 1"),
        ("clip-adapter", {"residual_ratios": []}, r"is \(\); expected one or more"),
        ("clip-adapter", {"residual_ratios": [float("nan")]}, "expected one or more .* 0 to 1"),
        ("clip-adapter", {"residual_ratios": 0.2}, "residual_ratios is 0.2: .*tuple"),
        ("clip-adapter", {"output_activation": "perhaps"}, "'perhaps': .*boolean"),
        ("clip-adapter", {"optimizer": "lamb"}, "optimizer is 'lamb': .*'adamw'"),
        ("clip-adapter", {"epochs": 0}, "epochs is 0; expected 1 or more"),
        ("clip-adapter", {"epochs": "many"}, "training.epochs is 'many': .*integer"),
        ("clip-adapter", {"learning_rate": -1}, "learning_rate is -1.0; expected more than 0"),
        ("linear-probe", {"max_iterations": 0}, "max_iterations is 0; expected 1 or more"),
        ("linear-probe", {"max_iterations": 3_000_000_000}, "at most 2,147,483,647"),
        ("linear-probe", {"refinements": 3_000_000_000}, "at most 2,147,483,647"),
        ("linear-probe", {"refinements": -1}, "refinements is -1; expected 0 or more"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(
    method: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{method}: .*{message}"):
        create_method(method, settings)
