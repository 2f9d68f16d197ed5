import pytest

from clip_adapter.cli.inert import inert


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("ViT-B-32:openai", "ViT-B-32:openai"),
        ("\x1b]8;;http://x\x07click", r"\x1b]8;;http://x\x07click"),
        ("one\ntwo\r", r"one\ntwo\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("Fluß 河", "Fluß 河"),
        ("\udcff", r"\udcff"),
    ],
)
def test_a_name_is_shown_and_not_obeyed(written: str, shown: str) -> None:
    assert inert(written) == shown
