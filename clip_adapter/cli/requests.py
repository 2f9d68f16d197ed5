"""Generates the options of commands from the requests of the pipeline."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from clip_adapter.cli.extensions import prefect_runner
from clip_adapter.cli.options import (
    parse_columns,
    parse_names,
    parse_seeds,
    parse_settings,
    parse_shots,
)
from clip_adapter.pipeline.requests import ALL_DATASETS, Request
from clip_adapter.shots import shots_to_text

Prefect = Annotated[
    bool,
    typer.Option(
        "--prefect",
        help="Run as a flow of Prefect: on the server of PREFECT_API_URL, else on a private one. "
        "Needs a checkout.",
    ),
]
_PLACES = {
    "extract_features": ("extract", "extract"),
    "train_adapters": ("train", "train"),
    "reproduce_paper": ("ablations", "reproduce"),
}
"""Module and function of the pipeline for each flow."""


def run(flow: str, request: Request, *, prefect: bool) -> Any:
    """Run a request and return its result.

    Args:
        flow: name of the flow.
        request: the request.
        prefect: run the flow instead of calling the function of the pipeline.

    Raises:
        UnavailableError: a flow was requested, and the checkout is not installed.
    """
    if prefect:
        return prefect_runner()(flow, request)
    module, function = _PLACES[flow]
    if getattr(request, "dataset", None) == ALL_DATASETS:
        module = function = "reproduce_all"
    # Imports what computes, when the options have been read.
    return getattr(import_module(f"clip_adapter.pipeline.{module}"), function)(request)


@dataclass(frozen=True)
class _Form:
    """The form of a parameter on the command line, if it differs from that in Python.

    Attributes:
        kind: type of the option.
        parse: function from the value of the option to that of the parameter.
        write: function from the default of the parameter to that of the option.
        name: name of the option, if it differs from that of the parameter.
        metavar: placeholder of the value in the help.
        more: addition to the help.
    """

    kind: Any
    parse: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value
    name: str | None = None
    metavar: str | None = None
    more: str = ""


def _joined(values: list[Any]) -> str:
    return ",".join(map(shots_to_text, values))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


_FOLDER = _Form(Path | None, parse=_text)
_FORMS = {
    "root": _Form(str | None, metavar="FOLDER|URL"),
    "images": _FOLDER,
    "data": _FOLDER,
    "few_shot_indices": _FOLDER,
    "class_names": _FOLDER,
    "follow_links": _FOLDER,
    "classifier": _Form(str),
    "inputs": _Form(list[str]),
    "ignore": _Form(list[str] | None, metavar="GLOB", more="repeatable"),
    "columns": _Form(
        str | None,
        parse=parse_columns,
        metavar="OURS=THEIRS",
        more="as path=file,label=species",
    ),
    "also": _Form(list[str] | None, metavar="NAME", more="repeatable"),
    "methods": _Form(str, parse=parse_names, write=_joined, more="separated by commas"),
    "shots": _Form(str, parse=parse_shots, write=_joined, more="separated by commas"),
    "seeds": _Form(str, parse=parse_seeds, write=_joined, more="separated by commas, or as 1-10"),
    "settings": _Form(
        list[str] | None,
        parse=lambda texts: parse_settings(texts or []) or None,
        name="--set",
        metavar="METHOD.SETTING=VALUE",
        more="as clip-adapter.residual_ratios=[0.2]; repeatable",
    ),
    "templates": _Form(list[str] | None, name="--template", more="repeatable"),
    "test_on": _Form(
        str | None,
        parse=lambda text: parse_names(text) if text else None,
        metavar="NAME,...",
        more="separated by commas",
    ),
}
_ARGUMENTS = {"dataset", "study", "classifier", "inputs"}
"""Parameters that are positional on the command line if the request allows it."""


def from_options(
    kind: type[Request], *, required: tuple[str, ...] = (), repeatable: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command that takes a request so that it takes the request's parameters as options.

    Args:
        kind: class of the request.
        required: parameters with a default that the command line must have.
        repeatable: parameters that may have several values; the command then takes a list of
            requests, one for each combination of the values in the order in which they were typed.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields = kind.model_fields

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in list(inspect.signature(command).parameters.values())[1:]
        ]

        @wraps(command)
        def called(**options: Any) -> None:
            further = {each.name: options.pop(each.name) for each in own}
            choices = [dict.fromkeys(options.pop(name) or [None]) for name in repeatable]
            parameters = {
                name: _FORMS[name].parse(value) if name in _FORMS else value
                for name, value in options.items()
            }
            requests = [
                kind.of(**parameters, **dict(zip(repeatable, each, strict=True)))
                for each in product(*choices)
            ]
            command(requests if repeatable else requests[0], **further)

        generated = [
            _parameter(
                name,
                fields[name],
                hints[name],
                kind=kind,
                is_required=name in required,
                is_repeatable=name in repeatable,
            )
            for name in kind.signature().parameters
        ]
        signature = inspect.Signature([*generated, *own])
        called.__signature__ = signature  # type: ignore[attr-defined]  # what typer looks for
        called.__annotations__ = {
            each.name: each.annotation for each in signature.parameters.values()
        }
        return called

    return decorate


def option_names(kind: type[Request]) -> dict[str, str]:
    """The option of every parameter of a request; its bare name for a positional argument."""
    return {
        name: name if _is_argument(name, kind) else _option(name)
        for name in kind.signature().parameters
    }


def _parameter(
    name: str,
    field: FieldInfo,
    hint: Any,
    *,
    kind: type[Request],
    is_required: bool,
    is_repeatable: bool,
) -> inspect.Parameter:
    form = _FORMS.get(name) or _Form(_plain(hint))
    if is_repeatable:
        form = _Form(list[str] | None, more="several may be given")
    words = (field.description or "").removesuffix(".")
    text = f"{words}; {form.more}." if form.more else f"{words}."
    default = form.write(field.default)
    annotation: Any
    if _is_argument(name, kind):
        shown: Any = typer.Argument(help=text)
        # A study is checked by the request, which suggests the nearest.
        is_list = is_repeatable or form.kind == list[str]
        annotation = Annotated[list[str] if is_list else str, shown]
        is_required = is_required or field.is_required()
    else:
        option = _option(name)
        shown = typer.Option(
            f"{option}/--no-{option[2:]}" if default is True else option,
            help=text,
            metavar=form.metavar,
            show_default=default is not None and default is not False,
            **({} if name in _FORMS else _range(field)),
        )
        annotation = Annotated[form.kind, shown]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if is_required else default,
        annotation=annotation,
    )


def _is_argument(name: str, kind: type[Request]) -> bool:
    return name in _ARGUMENTS and name in kind.positional


def _option(name: str) -> str:
    form = _FORMS.get(name)
    return (form and form.name) or f"--{name.replace('_', '-')}"


def _plain(hint: Any) -> Any:
    """A type without its annotations for pydantic."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    members = get_args(hint)
    if type(None) in members and len(members) == 2:
        return _plain(members[0]) | None
    return hint


def _range(field: FieldInfo) -> dict[str, Any]:
    """The smallest and the largest value, as arguments of `typer.Option`."""
    found: dict[str, Any] = {}
    for each in _constraints(field.annotation, field.metadata):
        if (low := getattr(each, "ge", None)) is not None:
            found["min"] = low
        if (high := getattr(each, "le", None)) is not None:
            found["max"] = high
        if isinstance(above := getattr(each, "lt", None), int):  # typer has no open end
            found["max"] = above - 1
    return found


def _constraints(annotation: Any, metadata: list[Any]) -> list[Any]:
    """The constraints of a number, also of the number in `number | None`."""
    found = list(metadata)
    for member in get_args(annotation):
        if get_origin(member) is Annotated:
            for each in get_args(member)[1:]:
                found += each.metadata if isinstance(each, FieldInfo) else [each]
    return found
