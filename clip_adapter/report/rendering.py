"""Templates filled in, with every value made inert on its way into the page."""

from collections.abc import Iterable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clip_adapter.inert import inert

__all__ = ["render"]


def render(template: str, **values: object) -> str:
    """The Markdown that a template of this package makes of some values.

    Raises:
        jinja2.UndefinedError: the template asks for a value that is not given.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clip_adapter.report"),
        autoescape=True,
        finalize=inert,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["join_cells"] = _join_cells
    return environment


def _join_cells(cells: Iterable[object]) -> Markup:
    return Markup(" | ").join(inert(cell) for cell in cells)
