"""The methods by name."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from clip_adapter.errors import UnknownNameError
from clip_adapter.methods.linear_probe import LinearProbe
from clip_adapter.methods.method import Method
from clip_adapter.methods.visual_adapter import ClipAdapter
from clip_adapter.methods.zero_shot import ZeroShot

__all__ = ["METHODS", "create_method"]

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {method.name: method for method in (ZeroShot, LinearProbe, ClipAdapter)}
)


def create_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name with its default settings, or those given.

    >>> create_method("clip-adapter", {"reduction": 8}).reduction
    8

    Raises:
        UnknownNameError: for a method or a setting that does not exist; it suggests the nearest.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    chosen: Any = METHODS[name]
    known = [field.name for field in fields(chosen)]
    for setting in settings or {}:
        if setting not in known:
            raise UnknownNameError(f"setting of {name}", setting, known)
    method: Method = chosen(**(settings or {}))
    return method
