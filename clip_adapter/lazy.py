"""Names of a package that are found when they are first used: lazy imports, and former names."""

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any


def when_asked(
    package: str,
    former: Mapping[str, str] = MappingProxyType({}),
    /,
    **names_of_module: tuple[str, ...],
) -> Callable[[str], Any]:
    """A `__getattr__` for a package that imports some of its modules on first use.

    Args:
        package: `__name__` of the package.
        former: today's place and name, as "package.name", of each former name; it is accepted with a
            DeprecationWarning.
        names_of_module: names that the package exports from each module.
    """
    module_of = {name: module for module, names in names_of_module.items() for name in names}

    def find(name: str) -> Any:
        if name in former:
            message = f"{package}.{name} is now {former[name]}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            place, _, today = former[name].rpartition(".")
            return getattr(import_module(place), today)
        if name not in module_of:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # found without `__getattr__` from now on
        return value

    return find
