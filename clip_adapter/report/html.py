"""The report as a single page that any browser opens, with its figures inside."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from clip_adapter.report.pictures import png_address

__all__ = ["html_page"]


def html_page(markdown: str, figures: Mapping[str, str]) -> str:
    """Markdown as HTML that loads nothing: no script runs in it, and no address is asked.

    Args:
        markdown: CommonMark with tables; HTML in it is shown, not obeyed.
        figures: SVG by the name of the file that the Markdown shows.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    _put_inside(tokens, {name: png_address(svg) for name, svg in figures.items()})
    body = parser.renderer.render(tokens, parser.options, {})
    environment = Environment(loader=PackageLoader("clip_adapter.report"), autoescape=True)
    title = next((token.content for token in tokens if token.type == "inline"), "Report")
    # The renderer has escaped every text already.
    return environment.get_template("page.html.jinja").render(title=title, body=Markup(body))  # noqa: S704


def _put_inside(tokens: Sequence[Token], addresses: Mapping[str, str]) -> None:
    for token in tokens:
        if token.type == "image":
            name = str(token.attrGet("src")).rpartition("/")[2]
            token.attrSet("src", addresses[name])
        _put_inside(token.children or [], addresses)
