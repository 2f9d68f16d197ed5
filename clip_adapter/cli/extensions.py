"""Commands that are imported when they are called, and those that a checkout adds."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from clip_adapter.errors import UnavailableError

GROUP = "clip_adapter.commands"
CHECKOUT_COMMANDS = {
    "up": "Bring Prefect's server, a worker and all deployments up, in the background.",
    "down": "End the server and the worker that `up` started, and nothing else.",
    "status": "Show whether the server and the worker are up, where, and how runs ended.",
}
RUNNER = "--prefect"
INSTALL = (
    "clone the project, and there run `make up`, or `pip install -e . -e ./service` and then this "
    "command"
)


class LazyCommand(TyperCommand):
    """A command with one line of help, whose module is imported when it is called.

    Attributes:
        place: module and attribute of the function, as `clip_adapter.cli.sql:sql`.
    """

    place: str

    @cached_property
    def real(self) -> Any:
        """The command itself."""
        module, _, function = self.place.partition(":")
        found = getattr(import_module(module), function)
        return _command(str(self.name), found, epilog=self.epilog)

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments with the command itself."""
        return self.real.make_context(info_name, args, parent=parent, **extra)


def lazily(
    app: typer.Typer, commands: Mapping[str, str], *, package: str, epilog: str | None = None
) -> Any:
    """The group of an application with commands that are imported when they are called.

    Args:
        app: the application, without these commands.
        commands: module in the package and function in it, with one line of help.
        package: name of the package.
        epilog: last line of every command's help.
    """
    group: Any = get_command(app)
    for place, text in commands.items():
        name = place.rpartition(":")[2].rstrip("_").replace("_", "-")
        group.commands[name] = lazy_command(name, f"{package}.{place}", text, epilog=epilog)
    return group


def lazy_command(name: str, place: str, text: str, *, epilog: str | None = None) -> LazyCommand:
    """A command that is imported when it is called."""
    made = LazyCommand(name, help=text, epilog=epilog)
    made.place = place
    return made


class ExtensibleGroup(TyperGroup):
    """A group to which entry points of `clip_adapter.commands` add functions as commands.

    They are loaded when all commands are listed, or a command is called that the library does not have.
    An entry point whose module is missing is skipped. One that cannot be loaded is listed with the
    reason, which calling it raises. A command of the library takes precedence.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the library's commands, then those of the entry points."""
        self._add_extensions()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; None if there is none."""
        if cmd_name not in self.commands:
            self._add_extensions()
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments call.

        Raises:
            UnavailableError: the command belongs to the checkout, which is not installed.
        """
        if args[0] in CHECKOUT_COMMANDS and self.get_command(ctx, args[0]) is None:
            raise UnavailableError(
                f"`clip-adapter {args[0]}` comes with a checkout of the project and is not installed "
                f"here: {INSTALL}"
            )
        return super().resolve_command(ctx, args)

    def _add_extensions(self) -> None:
        found = {each.name: each for each in entry_points(group=GROUP)}
        for name in sorted(found.keys() - {*self.commands, RUNNER}, key=_place_in_help):
            with suppress(ModuleNotFoundError):
                if name in CHECKOUT_COMMANDS and find_spec(found[name].module):
                    self.commands[name] = lazy_command(
                        name, found[name].value, CHECKOUT_COMMANDS[name]
                    )
                elif name not in CHECKOUT_COMMANDS and find_spec(found[name].module):
                    self.commands[name] = _extension(found[name])


def _extension(entry_point: EntryPoint) -> Any:
    """The command of an entry point, or one that only raises why it cannot be loaded."""
    try:
        return _command(entry_point.name, entry_point.load())
    except Exception as error:  # noqa: BLE001  # whatever the code of another package raises
        reason = f"{entry_point.name} of {entry_point.value} cannot be loaded: {error}"

    def broken() -> None:
        raise UnavailableError(f"{reason}; repair or uninstall the package that it comes from")

    broken.__doc__ = f"Broken: {escape(reason)}."  # a help text is markup to typer
    return _command(entry_point.name, broken)


def _place_in_help(name: str) -> tuple[int, str]:
    order = [*CHECKOUT_COMMANDS]
    return order.index(name) if name in order else len(order), name


def prefect_runner() -> Callable[..., Any]:
    """The function that runs a request as a flow.

    Raises:
        UnavailableError: the checkout is not installed, or lacks a package.
    """
    for entry_point in entry_points(group=GROUP, name=RUNNER):
        try:
            runner: Callable[..., Any] = entry_point.load()
        except ModuleNotFoundError as error:
            if entry_point.module.startswith(error.name or " "):
                continue  # the checkout is gone, its entry point is left
            raise UnavailableError(
                f"`{RUNNER}` needs the package {error.name!r}, which is not installed: "
                f"pip install {error.name}"
            ) from error
        return runner
    raise UnavailableError(
        f"`{RUNNER}` comes with a checkout of the project and is not installed here: leave it out, "
        f"or {INSTALL}"
    )


def _command(name: str, found: Any, *, epilog: str | None = None) -> Any:
    """A command of click made from a function; a group is returned unchanged."""
    if isinstance(found, TyperGroup):
        return found
    single = typer.Typer(add_completion=False)
    single.command(name, epilog=epilog)(found)
    return get_command(single)
