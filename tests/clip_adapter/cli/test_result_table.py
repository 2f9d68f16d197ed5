"""A table fits the terminal and shows every value whole."""

import io

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from clip_adapter.cli.result_table import print_rows

WORDS = st.text(st.sampled_from("ab/ üx漢\n"), max_size=40)
ROWS = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(WORDS, min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(rows=ROWS, width=st.integers(30, 100))
def test_no_line_of_a_table_is_wider_than_the_terminal_and_no_word_is_broken(
    rows: list[list[str]], width: int
) -> None:
    columns = {f"c{place}": list(cells) for place, cells in enumerate(zip(*rows, strict=True))}
    file = io.StringIO()
    print_rows([pa.table(columns)], Console(file=file, width=width, color_system=None))
    lines = file.getvalue().splitlines()
    is_table = not lines[0].startswith("row ")
    if is_table:
        assert max(map(cell_len, lines)) <= width
    for row in rows:
        for line in "\n".join(row).split("\n"):
            wanted = [line.strip()] if "/" in line else line.split()
            assert all(any(word in each for each in lines) for word in wanted)
    assert lines[-1] == f"{len(rows)} row{'s' if len(rows) != 1 else ''}"
