"""Packages that show a name before they import what it takes."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def when_asked(package: str, **names_of_module: tuple[str, ...]) -> Callable[[str], Any]:
    """The `__getattr__` of a package that imports some of its modules when they are asked for.

    Args:
        package: its `__name__`.
        names_of_module: what the package shows of a module, by the module's name in the package.
    """
    module_of = {name: module for module, names in names_of_module.items() for name in names}

    def find(name: str) -> Any:
        if name not in module_of:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # from now on found without asking
        return value

    return find
