import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.printable import printable


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
    assert printable(text) == shown


def test_what_is_kept_passes() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@given(st.text(st.characters()))
def test_the_result_is_always_printable_and_can_be_written(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode("utf-8")
