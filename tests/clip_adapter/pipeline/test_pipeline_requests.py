"""Requests are checked when they are made, and the application takes them or their parameters."""

from pathlib import Path
from typing import Any

import pytest

from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.methods import create_method
from clip_adapter.pipeline.executor import Executor
from clip_adapter.pipeline.extract import extract
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import (
    ExtractRequest,
    ReproduceRequest,
    Request,
    TrainRequest,
    accepts,
)
from clip_adapter.pipeline.train import requested_methods
from clip_adapter.shots import ALL_SHOTS
from clip_adapter.training import SettingsError


@accepts(TrainRequest)
def echo(request: TrainRequest, *, executor: Executor | None = None) -> Any:
    """Return what was asked."""
    return request, executor


def test_a_function_of_a_request_takes_its_parameters() -> None:
    request = TrainRequest.of(dataset="eurosat", model="glyphs", shots=["all"])
    executor = Executor()
    assert request.shots == [ALL_SHOTS]
    assert echo(request, executor=executor) == (request, executor)
    assert echo("eurosat", "glyphs", shots=["all"], executor=executor) == (request, executor)
    assert "    shots: Labelled training images per class" in (echo.__doc__ or "")


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [(("digits", "glyphs", 4), {}), (("digits",), {"dataset": "digits"})],
)
def test_what_python_would_refuse_is_refused(
    arguments: tuple[Any, ...], parameters: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        echo(*arguments, **parameters)


def test_a_misspelt_parameter_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown parameter 'shot': did you mean 'shots'"):
        echo("digits", shot=[1])


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        (
            TrainRequest,
            {"shots": [1, 0]},
            "shots.1 is 0: Input should be greater than or equal to 1",
        ),
        (TrainRequest, {"seeds": []}, r"seeds is \[\]: .* at least 1 item"),
        (TrainRequest, {"precision": "fp8"}, "precision is 'fp8': .*'fp32', 'bf16' or 'fp16'"),
        (ExtractRequest, {"views": 10_000}, "views is 10000: .*less than 10000"),
        (TrainRequest, {"dataset": ["digits", "eurosat"]}, "dataset is .*valid string"),
        (TrainRequest, {"model": ["glyphs"]}, "model is .*valid string"),
        (ReproduceRequest, {}, "study is .*: Field required"),
        (TrainRequest, {"selection": "test"}, "selection is 'test': .*'held-out-shots' or 'none'"),
        (
            TrainRequest,
            {"selection": "validation", "validation": False},
            "^--selection validation is given together with --no-validation, .* held-out-shots",
        ),
        (
            TrainRequest,
            {"settings": {"gda": {"selection": "validation"}}, "validation": False},
            "^--set gda.selection=validation is given together with --no-validation",
        ),
        (
            ReproduceRequest,
            {"study": "branch", "selection": "validation", "validation": False},
            "^--selection validation is given together with --no-validation",
        ),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_expected(
    kind: type[Request], parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParameterError, match=words):
        kind.of(**parameters)


def test_a_request_cannot_be_changed() -> None:
    request: Any = ExtractRequest()
    with pytest.raises(ValueError, match="frozen"):
        request.views = 3


def test_all_methods_are_those_a_dataset_can_be_given_to() -> None:
    every = {each.name for each in requested_methods(TrainRequest(methods=["all"]))}
    imported = requested_methods(TrainRequest(dataset="features:x", methods=["all"]))
    assert {"coop", "clip-adapter", "zero-shot"} <= every
    assert every - {each.name for each in imported} == {
        name for name in every if create_method(name).needs_text_tower
    }


def test_settings_of_a_method_that_is_not_trained_are_refused() -> None:
    request = TrainRequest(methods=["zero-shot"], settings={"gda": {}})
    with pytest.raises(SettingsError, match="gda, which is not trained"):
        requested_methods(request)


def test_a_selection_is_that_of_every_method_that_has_one() -> None:
    methods = requested_methods(
        TrainRequest(
            methods=["zero-shot", "gda", "task-res"],
            selection="held-out-shots",
            settings={"task-res": {"selection": "none"}},
        )
    )
    found = [getattr(method, "selection", None) for method in methods]
    assert found == [None, "held-out-shots", "none"]


@pytest.mark.parametrize("asked", [{"validation": False}, {"budget": 40}])
def test_where_no_image_is_set_aside_held_out_shots_choose_by_name(asked: dict[str, Any]) -> None:
    """So that a sweep that says so and one that does not are one configuration."""
    silent = TrainRequest.of(methods=["gda", "zero-shot"], **asked)
    said = TrainRequest.of(methods=["gda", "zero-shot"], selection="held-out-shots", **asked)
    found = [requested_methods(request, reporter=Reporter()) for request in (silent, said)]
    assert found[0] == found[1]
    own = TrainRequest.of(methods=["gda"], settings={"gda": {"selection": "none"}}, **asked)
    assert requested_methods(own, reporter=Reporter()) == [
        create_method("gda", {"selection": "none"})
    ]


def test_a_selection_that_can_change_nothing_is_refused() -> None:
    request = TrainRequest(methods=["zero-shot"], selection="none")
    with pytest.raises(SettingsError, match="--selection none can change nothing: none of zero-sh"):
        requested_methods(request)


def test_what_is_wrong_is_found_before_anything_is_written(root: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        extract("digit", root=root)
    with pytest.raises(UnknownNameError, match="did you mean 'glyphs'"):
        extract("digits", model="glyph", root=root)
    assert not root.exists()


def test_a_request_of_another_function_is_refused_by_name() -> None:
    with pytest.raises(
        ParameterError, match="echo was called with a ExtractRequest: expected a Tr"
    ):
        echo(ExtractRequest.of(dataset="digits"))


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"selection": "validation"}, "--selection validation"),
        ({"settings": {"gda": {"selection": "validation"}}}, "--set gda.selection=validation"),
        (
            {"settings": {"clip-adapter": {"ratio_mode": "validation"}}},
            "--set clip-adapter.ratio_mode=validation",
        ),
    ],
)
def test_validation_images_that_are_not_set_aside_cannot_choose(
    asked: dict[str, Any], option: str
) -> None:
    with pytest.raises(ParameterError, match=f"{option} is given together with --no-validation"):
        TrainRequest.of(validation=False, **asked)
