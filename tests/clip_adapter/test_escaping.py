"""What comes from data is text and nothing else; a Markdown parser is the judge."""

import string
from html import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markupsafe import Markup

from clip_adapter.escaping import escape_control_characters, escape_markdown, slug

TEXTS = st.text(st.sampled_from(string.punctuation + " ab1\n\t\x1b\u202e\u00e9"), max_size=30)
HOSTILE = (
    "<script>alert(1)</script>",
    "a | b | c",
    "[click](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "**bold** _it_ `code` ~~gone~~ $x$",
    "https://example.com and www.example.com",
    "&lt;b&gt;",
    "a\n\n# heading",
    "\\",
    "\x1b[2Jred",
)


def shown(markdown: str) -> str:
    html: str = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    return html.replace("&quot;", '"')


@given(TEXTS)
@example("a\\|b")
@example("]( <b>")
@pytest.mark.parametrize("frame", ["table", "sentence"])
def test_a_parser_reads_the_very_text(frame: str, text: str) -> None:
    expected = escape(escape_control_characters(text).strip(), quote=False)
    if frame == "sentence":
        assert shown(f"it is {escape_markdown(text).strip()}.") == f"<p>it is {expected}.</p>\n"
    else:
        page = shown(f"| it |\n| -- |\n| is {escape_markdown(text).strip()}. |")
        assert f"<td>is {expected}.</td>" in page
        assert page.count("<td>") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_becomes_no_element(text: str) -> None:
    html = shown(f"it is {escape_markdown(text)}.")
    assert html.startswith("<p>it is ")
    assert html.count("<") == 2


@pytest.mark.parametrize("text", ["https://example.com", "WWW.example.com", "a@example.com"])
def test_no_address_is_left_for_github_to_link(text: str) -> None:
    assert text not in escape_markdown(text)


def test_what_is_markup_already_stays() -> None:
    assert escape_markdown(Markup("**x**")) == "**x**"


def test_ordinary_names_stay_readable() -> None:
    for name in ("ViT-B-32-quickgelu:openai", "lp++", "84.3 ± 1.2", "clip-adapter (recipe fast)"):
        assert escape_markdown(name) == name


@given(st.text(max_size=60))
def test_a_file_name_is_plain(text: str) -> None:
    assert slug(text)
    assert set(slug(text)) <= set(string.ascii_lowercase + string.digits + "-")
    assert len(slug(text)) <= 50


@given(st.text(max_size=8), st.text(max_size=8))
def test_two_names_have_two_files(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode 写真", "plain text, ünïcode 写真"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_could_steer_a_terminal_is_written_as_an_escape(text: str, shown: str) -> None:
    assert escape_control_characters(text) == shown


def test_what_is_kept_passes() -> None:
    assert escape_control_characters("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@given(st.text(st.characters()))
def test_the_result_is_always_printable_and_can_be_written(text: str) -> None:
    assert escape_control_characters(text).isprintable()
    escape_control_characters(text).encode("utf-8")
