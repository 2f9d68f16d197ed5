"""Lazy imports: a package imports the module of a name when the name is first used."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def when_asked(package: str, **names_of_module: tuple[str, ...]) -> Callable[[str], Any]:
    """A `__getattr__` for a package that imports some of its modules on first use.

    Args:
        package: `__name__` of the package.
        names_of_module: names that the package exports from each module.
    """
    module_of = {name: module for module, names in names_of_module.items() for name in names}

    def find(name: str) -> Any:
        if name not in module_of:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # found without `__getattr__` from now on
        return value

    return find
