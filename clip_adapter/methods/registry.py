"""The methods by name."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clip_adapter.errors import UnknownNameError
from clip_adapter.methods.clip_adapter import ClipAdapter
from clip_adapter.methods.coop import CoOp
from clip_adapter.methods.cross_modal import CrossModalProbe
from clip_adapter.methods.gda import Gda
from clip_adapter.methods.linear_probe import LinearProbe
from clip_adapter.methods.lp_plus_plus import LpPlusPlus
from clip_adapter.methods.method import Method
from clip_adapter.methods.task_res import TaskRes
from clip_adapter.methods.tip_adapter import TipAdapter
from clip_adapter.methods.tip_adapter_f import TipAdapterF
from clip_adapter.methods.zero_shot import ZeroShot
from clip_adapter.training import SettingsError, TrainingSettings

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
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
        )
    }
)


def create_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name with its default settings, or those given.

    Settings of the training (`learning_rate`, `epochs`, ...) stand beside the method's own.

    >>> create_method("clip-adapter", {"reduction": 8, "epochs": 20}).training.epochs
    20

    Raises:
        UnknownNameError: for a method or a setting that does not exist; it suggests the nearest.
        SettingsError: for a value of the wrong type or outside its range.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    method = METHODS[name]
    own, training = _setting_names(method)
    for setting in settings or {}:
        if setting not in {*own, *training}:
            raise UnknownNameError(f"setting of {name}", setting, [*own, *training])
    values = {key: value for key, value in (settings or {}).items() if key in own}
    if nested := {key: value for key, value in (settings or {}).items() if key in training}:
        values["training"] = nested
    return _validated(method, values)


def setting_names(method: type[Any]) -> list[str]:
    """What can be set of a method, that of its training last."""
    own, training = _setting_names(method)
    return [*own, *training]


def _setting_names(method: type[Any]) -> tuple[list[str], list[str]]:
    """The method's own settings, and those of its training if it has one."""
    own = [field.name for field in fields(method)]
    if "training" not in own:
        return own, []
    own.remove("training")
    return own, [field.name for field in fields(TrainingSettings)]


def _validated(method: type[Method], values: dict[str, Any]) -> Method:
    try:
        return TypeAdapter(method).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":  # our own words, from a dataclass's check
            raise SettingsError(f"{method.name}: {first['ctx']['error']}") from error
        where = ".".join(str(part) for part in first["loc"])
        message = f"{method.name}: {where} is {first['input']!r}: {first['msg']}"
        raise SettingsError(message) from error
