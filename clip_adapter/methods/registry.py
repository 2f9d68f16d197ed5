"""The methods by name: built-in ones, registered ones, and those of installed packages."""

import inspect
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from clip_adapter.errors import ClipAdapterError, DataError, SettingsError, UnknownNameError
from clip_adapter.methods.ape import Ape
from clip_adapter.methods.auto import Auto, ClipAdapterGda
from clip_adapter.methods.clap import Clap
from clip_adapter.methods.clip_adapter import ClipAdapter
from clip_adapter.methods.coop import CoOp
from clip_adapter.methods.cross_modal import CrossModalProbe
from clip_adapter.methods.gda import Gda
from clip_adapter.methods.linear_probe import LinearProbe
from clip_adapter.methods.lp_plus_plus import LpPlusPlus
from clip_adapter.methods.method import Fitted, Method, Progress
from clip_adapter.methods.nearest_mean import NearestMean
from clip_adapter.methods.proker import ProKeR
from clip_adapter.methods.ridge_to_text import RidgeToText
from clip_adapter.methods.ss_text import SsText, SsTextPlus
from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.task_res import TaskRes
from clip_adapter.methods.tip_adapter import TipAdapter, TipAdapterF
from clip_adapter.methods.zero_shot import ZeroShot
from clip_adapter.training import TrainingSettings

GROUP = "clip_adapter.methods"
"""The entry-point group in which an installed package names its methods."""

_BUILT_IN: Mapping[str, type[Method]] = {
    method.name: method
    for method in (
        ZeroShot,
        LinearProbe,
        ClipAdapter,
        CoOp,
        TipAdapter,
        TipAdapterF,
        TaskRes,
        Gda,
        LpPlusPlus,
        CrossModalProbe,
        RidgeToText,
        ProKeR,
        NearestMean,
        SsText,
        SsTextPlus,
        Clap,
        Ape,
        ClipAdapterGda,
        Auto,
    )
}
_registered: dict[str, type[Method]] = {}
# A command reads a dot, a comma or an @ behind a method's name as the end of the name.
_NAME = re.compile(r"(?!all$)[a-z0-9][a-z0-9+_-]*")
_OTHERS_BASES = {"abc", "builtins", "typing", "typing_extensions"}

AnyMethod = TypeVar("AnyMethod", bound=type[Method])


def register(method: AnyMethod) -> AnyMethod:
    """Make a method known by its name; a function, or a decorator of the method's class.

    The method is known to the process that imported its module. An installed package makes a method
    known to every process without an import: its entry point in the group `clip_adapter.methods`
    has the method's name and points to the class. A class that is defined again, as in a notebook,
    replaces its former self.

    Returns:
        The class.

    Raises:
        SettingsError: the class is no method, its source code cannot be read, or another method has
            its name.
    """
    _check_is_method(method)
    earlier = _BUILT_IN.get(method.name, _registered.get(method.name, method))
    if _path_of(earlier) != _path_of(method):
        raise SettingsError(
            f"the name {method.name!r} of {_path_of(method)} is taken by {_path_of(earlier)}: "
            "give the method another name"
        )
    _registered[method.name] = method
    return method


class _Methods(Mapping[str, type[Method]]):
    """All methods by name; the class of an installed package is loaded when it is looked up."""

    def __getitem__(self, name: str) -> type[Method]:
        if name not in self:
            raise KeyError(name)
        points = [point for point in _entry_points() if point.name == name]
        if (name in _BUILT_IN and points) or len(points) > 1:
            packages = ", ".join(_package_of(point) for point in points)
            raise SettingsError(
                f"several methods are called {name!r}: "
                f"{'a built-in one and one of ' if name in _BUILT_IN else 'those of '}{packages}; "
                "uninstall a package, or rename the method in it"
            )
        loaded = [register(_load(point)) for point in points]
        return (loaded or [_BUILT_IN.get(name) or _registered[name]])[0]

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __iter__(self) -> Iterator[str]:
        installed = (point.name for point in _entry_points() if _NAME.fullmatch(point.name))
        return iter(dict.fromkeys([*_BUILT_IN, *_registered, *installed]))

    def __len__(self) -> int:
        return len(list(iter(self)))


METHODS: Mapping[str, type[Method]] = _Methods()


def create_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Make the method of that name with its default settings, or with those given.

    Settings of the training (`learning_rate`, `epochs`, ...) are given beside the method's own.

    >>> create_method("clip-adapter", {"reduction": 8, "epochs": 20}).training.epochs
    20

    Raises:
        UnknownNameError: there is no such method or setting; the message suggests the nearest.
        SettingsError: a value has the wrong type or is outside its range, or the package that has
            the method cannot be loaded.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    method = METHODS[name]
    own, training = _setting_names(method)
    for setting, value in (settings or {}).items():
        if setting not in {*own, *training}:
            raise UnknownNameError(f"setting of {name}", setting, [*own, *training])
        if isinstance(value, float) and not isfinite(value):
            raise SettingsError(f"{name}: {setting} is {value}: expected a finite number")
    values = {key: value for key, value in (settings or {}).items() if key in own}
    if nested := {key: value for key, value in (settings or {}).items() if key in training}:
        values["training"] = nested
    return _validated(method, values)


def setting_names(method: type[Any]) -> list[str]:
    """Names of the settings of a method, those of its training last."""
    own, training = _setting_names(method)
    return [*own, *training]


def settings_of(method: Method) -> dict[str, Any]:
    """The settings of a method by name, without those that are None.

    The training of a built-in method is left out: which of its settings count follows from a recipe.
    """
    own, training = _setting_names(type(method))
    values = {name: getattr(method, name) for name in own}
    if _third_party_classes(type(method)):
        values |= {name: getattr(vars(method)["training"], name) for name in training}
    return {name: value for name, value in values.items() if value is not None}


def fit_method(
    method: Method,
    tasks: Sequence[FewShotTask],
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Fitted]:
    """Fit one classifier a task, and check what a method that is not built in returns.

    Args:
        method: a method with its settings.
        tasks: arrays to fit to.
        device: torch device that trains, such as "cuda:0".
        progress: called with the fraction of the work that was just done.

    Returns:
        The fitted classifiers, whose settings can be written as JSON.

    Raises:
        ClipAdapterError: the method cannot be fitted to a task, raises an error of any kind, or returns
            something else than one classifier for each task.
    """
    try:
        fitted = method.fit(tasks, device=device, progress=progress)
        if _third_party_classes(type(method)):
            _check_fitted(method, fitted, n_tasks=len(tasks))
    except ClipAdapterError:
        raise
    except Exception as error:
        if not _third_party_classes(type(method)):
            raise
        raise DataError(f"{method.name} raised {type(error).__name__}: {error}") from error
    plain = [{name: _plain(value) for name, value in each.settings.items()} for each in fitted]
    return [replace(each, settings=some) for each, some in zip(fitted, plain, strict=True)]


def _check_fitted(method: Method, fitted: Any, *, n_tasks: int) -> None:
    kinds = sorted({type(each).__name__ for each in fitted} - {"Fitted"})
    if kinds or len(fitted) != n_tasks:
        raise DataError(
            f"{method.name} returned {len(fitted)} of {', '.join(kinds) or 'Fitted'} for {n_tasks} "
            "tasks: expected one Fitted for each"
        )
    for each in fitted:
        for candidate in each.candidates:
            for name, value in candidate.settings.items():
                if isinstance(value, str) or not isinstance(value, int | float | np.number):
                    raise DataError(
                        f"{method.name} tried {name} = {value!r}: the settings of a candidate are "
                        "recorded as numbers; name each choice by its number"
                    )


def _plain(value: Any) -> Any:
    """A number or list in place of a numpy value, text in place of other objects."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def third_party_sources(method: type[Any]) -> list[str]:
    """The source code of a method that is not part of this package; empty for a built-in one.

    A class in a package has the code of all modules of the package, as any of them may decide what
    the method computes; else it is the code of the module, or of the cell of a notebook.
    """
    classes = _third_party_classes(method)
    return list(dict.fromkeys(text for each in classes for text in _sources(each)))


def _third_party_classes(method: type[Any]) -> list[type[Any]]:
    """The classes of a method that are not part of this package; none of a built-in one."""
    known = {*_OTHERS_BASES, _top_package(Method)}
    return [each for each in method.__mro__ if _top_package(each) not in known]


def _check_is_method(method: Any) -> None:
    named = _NAME.fullmatch(str(getattr(method, "name", "")))
    params = getattr(method, "__dataclass_params__", None)
    lacks = sorted(getattr(method, "__abstractmethods__", ()))
    wrong = {
        "is no class": not isinstance(method, type),
        "does not derive from Method": not (
            isinstance(method, type) and issubclass(method, Method)
        ),
        "is no frozen dataclass": params is None or not params.frozen,
        "has no `name` of lower-case letters, digits and hyphens, other than all": not named,
        f"does not define {', '.join(lacks)}": bool(lacks),
    }
    if not any(wrong.values()):
        wrong |= _wrong_fields(method)
    what = _path_of(method) if isinstance(method, type) else repr(method)
    if problems := [problem for problem, is_so in wrong.items() if is_so]:
        raise SettingsError(
            f"{what} cannot be a method, it {problems[0]}: expected a frozen dataclass that derives "
            "from clip_adapter.methods.Method, with a `name` and a `fit`"
        )
    if not third_party_sources(method):
        raise SettingsError(
            f"the source code of {what} cannot be read, so that its runs could not be told from "
            "those of changed code: define the method in a file"
        )


def _wrong_fields(method: type[Any]) -> dict[str, bool]:
    """What may be wrong with the fields of a dataclass, as a sentence about the class."""
    own = {field.name for field in fields(method)}
    constants = sorted(own & {"name", "learns", "needs_text_tower"})
    repeated = sorted(own & {field.name for field in fields(TrainingSettings)})
    required = sorted(
        field.name
        for field in fields(method)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    )
    return {
        f"has {', '.join(constants)} as a setting, annotate it as ClassVar": bool(constants),
        f"has {', '.join(repeated)} as its own setting and as one of its training": bool(
            "training" in own and repeated
        ),
        f"has no default for {', '.join(required)}": bool(required),
    }


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _package_of(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'an unknown package'} ({point.value})"


def _load(point: EntryPoint) -> type[Method]:
    try:
        method: type[Method] = point.load()
        _check_is_method(method)
    except Exception as error:
        raise SettingsError(
            f"the method {point.name!r} of {_package_of(point)} cannot be loaded: "
            f"{type(error).__name__}: {error}; repair or uninstall the package"
        ) from error
    if method.name != point.name:
        raise SettingsError(
            f"the method of {_package_of(point)} is called {method.name!r}, its entry point "
            f"{point.name!r}: give both one name"
        )
    return method


def _path_of(method: type[Any]) -> str:
    return f"{method.__module__}.{method.__qualname__}"


def _top_package(method: type[Any]) -> str:
    return method.__module__.partition(".")[0]


def _sources(method: type[Any]) -> Iterator[str]:
    module = sys.modules.get(_top_package(method))
    file = getattr(module, "__file__", None)
    if file is None:  # a notebook, or a package without a file `__init__.py`
        for name, each in vars(method).items():
            if inspect.isfunction(each) and not name.startswith("__"):  # those, dataclasses makes
                with suppress(OSError):
                    yield "".join(inspect.findsource(each)[0])
    elif Path(file).name == "__init__.py":
        yield from map(_source, Path(file).parent.rglob("*.py"))
    elif Path(file).suffix == ".py":
        yield _source(Path(file))


def _source(file: Path) -> str:
    try:
        with tokenize.open(file) as stream:
            return stream.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read as Python source: {error}") from error


def _setting_names(method: type[Any]) -> tuple[list[str], list[str]]:
    """The method's own settings, and those of its training if it has one."""
    own = [field.name for field in fields(method) if field.init]
    if "training" not in own:
        return own, []
    own.remove("training")
    return own, [field.name for field in fields(TrainingSettings)]


def _validated(method: type[Method], values: dict[str, Any]) -> Method:
    try:
        return TypeAdapter(method).validate_python(values)
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"{method.name}: its settings cannot be checked: {reason}") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":  # raised by the dataclass itself
            raise SettingsError(f"{method.name}: {first['ctx']['error']}") from error
        where = ".".join(str(part) for part in first["loc"])
        found = f"{where} is {first['input']!r}: " if where else ""
        raise SettingsError(f"{method.name}: {found}{first['msg']}") from error
    except Exception as error:  # of the method's own __post_init__
        raise SettingsError(f"{method.name}: {type(error).__name__}: {error}") from error
