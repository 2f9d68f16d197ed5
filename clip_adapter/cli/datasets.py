"""The commands datasets and methods, which list what can be trained on and trained."""

from typing import Any

from rich.table import Table
from rich.text import Text

from clip_adapter.cli.cache.indexed import latest_index
from clip_adapter.cli.options import Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.datasets import DATASETS, description_of
from clip_adapter.errors import ClipAdapterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console
from feature_cache import storage
from feature_cache.exchange import imported_names


def methods(as_json: Json = False) -> None:
    """List the few-shot methods, and what can be set of each."""
    from clip_adapter.methods import METHODS  # noqa: PLC0415  # takes time

    listed = {name: _about_method(name) for name in METHODS}
    if as_json:
        print_json(listed)
        return
    table = Table(title="methods", title_justify="left")
    for heading in ("name", "what it is", "settings"):
        table.add_column(heading, overflow="fold")
    for name, about in listed.items():
        cells = (name, str(about["what_it_is"]), ", ".join(about["settings"]))
        table.add_row(*(Text(escape_control_characters(cell)) for cell in cells))
    plain_console().print(table)


def _about_method(name: str) -> dict[str, Any]:
    """Description and settings of a method, or why the package that has it cannot be used."""
    from clip_adapter.methods import METHODS, setting_names  # noqa: PLC0415  # takes time

    try:
        method = METHODS[name]
    except ClipAdapterError as error:
        return {"what_it_is": f"cannot be used: {error}", "settings": []}
    first_line = (method.__doc__ or "").strip().partition("\n")[0]
    return {"what_it_is": first_line, "settings": setting_names(method)}


def datasets(root: Root = None, as_json: Json = False) -> None:
    """List the datasets that are known, and those that are indexed, as they were indexed last."""
    place = Settings.of(root=root).location
    names = storage.list_folders(place / "datasets")
    counts = {name: latest_index(place, name).n_images for name in names}
    if as_json:
        indexed = [{"dataset": name, "images": count} for name, count in counts.items()]
        print_json({"known": dict(DATASETS), "indexed": indexed})
        return
    table = Table(title="datasets", title_justify="left")
    for heading in ("name", "what it is", "images indexed"):
        table.add_column(heading, overflow="fold")
    for name, description in DATASETS.items():
        table.add_row(name, description, _shown(counts.pop(name, None)))
    imported = imported_names(place) if counts else []
    for name, count in counts.items():
        what = f"imported: features:{name}" if name in imported else description_of(name)
        table.add_row(name, what, _shown(count))
    plain_console().print(table)


def _shown(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
