"""The methods command: what can be trained, and what can be set."""

from rich.console import Console
from rich.table import Table

from clip_adapter.cli.options import Json
from clip_adapter.cli.summaries import print_json


def methods(as_json: Json = False) -> None:
    """List the few-shot methods, and what can be set of each."""
    from clip_adapter.methods import METHODS, setting_names  # noqa: PLC0415  # imports torch

    listed = {
        name: {
            "what_it_is": (method.__doc__ or "").strip().partition("\n")[0],
            "settings": setting_names(method),
        }
        for name, method in METHODS.items()
    }
    if as_json:
        print_json(listed)
        return
    table = Table(title="methods", title_justify="left")
    for heading in ("name", "what it is", "settings"):
        table.add_column(heading, overflow="fold")
    for name, about in listed.items():
        table.add_row(name, str(about["what_it_is"]), ", ".join(about["settings"]))
    Console(highlight=False).print(table)
