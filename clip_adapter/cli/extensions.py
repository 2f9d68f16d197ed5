"""Commands that other distributions add to `clip-adapter` by entry points."""

from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from clip_adapter.errors import ClipAdapterError

__all__ = ["ExtensibleGroup", "MissingCommandError"]

GROUP = "clip_adapter.commands"
CHECKOUT_COMMANDS = ("up", "down", "status")


class MissingCommandError(ClipAdapterError, LookupError):
    """A command of the checkout that is not installed."""


class ExtensibleGroup(TyperGroup):
    """A group to which entry points of `clip_adapter.commands` add functions as commands.

    They are loaded when all commands are listed, or one that the library does not have is asked for.
    An entry point whose module is not there is skipped, and the library's own commands go first.
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
            MissingCommandError: It is a command of the checkout, and that is not installed.
        """
        if args[0] in CHECKOUT_COMMANDS and self.get_command(ctx, args[0]) is None:
            raise MissingCommandError(
                f"`clip-adapter {args[0]}` comes with a checkout of the project and is not installed "
                "here: clone the project, and there run `make up`, or "
                "`pip install -e . -e ./service` and then this command"
            )
        return super().resolve_command(ctx, args)

    def _add_extensions(self) -> None:
        for entry_point in entry_points(group=GROUP):
            if entry_point.name not in self.commands:
                with suppress(ModuleNotFoundError):
                    single = typer.Typer(add_completion=False)
                    single.command(entry_point.name)(entry_point.load())
                    self.commands[entry_point.name] = get_command(single)
