"""The prompt of clip-adapter sql, typed at on a pseudo-terminal, and what it completes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from clip_adapter.cli.sql_prompt import NAMES, Prompt, SqlCompleter
from clip_adapter.cli.sql_runner import StatementRunner
from clip_adapter.cli.table_files import Format
from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.runs import RunStoreError, view_names

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\].*?\x07")
ENDLESS = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b;"


class Terminal:
    """A prompt on a pseudo-terminal of 80 columns."""

    def __init__(self, root: Path, state: Path) -> None:
        self._leader, follower = pty.openpty()
        environment = os.environ | {
            "TERM": "xterm",
            "NO_COLOR": "1",
            "XDG_STATE_HOME": str(state),
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        environment.pop("COLUMNS", None)
        command = [str(Path(sys.executable).parent / "clip-adapter"), "sql", "--root", str(root)]
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment,
            start_new_session=True,
            preexec_fn=_control_the_terminal,  # noqa: PLW1509  # so that Ctrl-C is a signal
        )
        os.close(follower)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def expect(self, text: str) -> None:
        """Wait until the terminal shows a text; the next one is looked for behind it."""
        deadline = time.monotonic() + 60
        while text not in self._shown:
            assert time.monotonic() < deadline, self._shown
            ready, _, _ = select.select([self._leader], [], [], 0.1)
            if ready:
                self._shown += CONTROL_SEQUENCE.sub("", os.read(self._leader, 65_536).decode())
        self._shown = self._shown.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


def _control_the_terminal() -> None:
    import fcntl  # noqa: PLC0415  # in the child alone
    import termios  # noqa: PLC0415  # the same

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(name="terminal")
def _terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "store").mkdir()
    terminal = Terminal(tmp_path / "store", tmp_path / "state")
    terminal.expect("sql>")
    yield terminal
    terminal.close()


def test_a_prompt_answers_survives_errors_and_ctrl_c_and_keeps_its_history(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.type(f"select 40 + 2 as n,{ENTER}")
    terminal.expect("...")
    terminal.type(f"3 as m;{ENTER}")
    terminal.expect("42  3")
    terminal.expect("sql>")
    terminal.type(f"from leaderbord;{ENTER}")
    terminal.expect("did you mean leaderboard?")
    terminal.expect("sql>")
    terminal.type(f"{ENDLESS}{ENTER}")
    terminal.expect("range(1000000) b;")
    time.sleep(1.0)
    terminal.type(CTRL_C)
    terminal.expect("interrupted")
    terminal.expect("sql>")
    terminal.type(f"half a line{CTRL_C}")
    terminal.expect("sql>")
    terminal.type(f".question hard-classes top{ENTER}")
    terminal.expect("not of the form NAME=VALUE")
    terminal.type(f".question hard-classes top=1{ENTER}")
    terminal.expect("class_name")
    terminal.expect("sql>")
    terminal.type(CTRL_D)
    assert terminal.process.wait(timeout=20) == 0
    history = tmp_path / "state" / "clip-adapter" / "sql_history"
    assert "+select 40 + 2 as n,\n+3 as m;" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "store").iterdir()) == []


def test_sigterm_ends_the_prompt_in_a_statement(terminal: Terminal) -> None:
    terminal.type(f"{ENDLESS}{ENTER}")
    terminal.expect("range(1000000) b;")
    time.sleep(1.0)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(timeout=20) == 143


def completed(text: str) -> list[str]:
    columns = {
        "runs": ["run_id", "method", "shots"],
        "images": ["image_sha256", "path"],
    }
    completer = SqlCompleter(lambda: columns, lambda: ["hard-classes", "is-better"])
    found = completer.get_completions(Document(text), CompleteEvent())
    return [completion.text for completion in found]


def test_a_word_is_completed_to_views_columns_and_keywords() -> None:
    assert {"leaderboard", "LEFT JOIN"} <= set(completed("select * from le"))
    assert completed("select runs.me") == ["method"]
    assert "path" in completed("select pa")
    # Of the views that the statement names, their columns alone.
    assert "path" not in completed("from runs select pa")
    assert completed(".des") == [".describe"]
    assert completed("") == []


def test_what_stands_behind_a_command_is_completed() -> None:
    assert completed(".question ") == ["hard-classes", "is-better"]
    assert completed(".question hard-c") == ["hard-classes"]
    assert completed(".question hard-classes to") == []
    assert completed(".describe leaderb") == ["leaderboard"]
    assert completed(".format js") == ["json", "jsonl"]
    assert completed(".views ") == []


@pytest.mark.parametrize("typed", ["help", "help;", ".help", ".help;", " Help ; "])
def test_help_with_or_without_a_dot_lists_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    Prompt(StatementRunner(tmp_path)).run(typed)
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:]] == list(NAMES)
    assert set(completed(".")) == set(NAMES)


@pytest.mark.parametrize("typed", [f"quit{ENTER}", f"exit;{ENTER}", f".exit{ENTER}"])
def test_words_that_leave_end_the_prompt(terminal: Terminal, typed: str) -> None:
    terminal.type(typed)
    assert terminal.process.wait(timeout=20) == 0


def test_messages_in_the_prompt_say_how_a_value_is_given_there(tmp_path: Path) -> None:
    prompt = Prompt(StatementRunner(tmp_path, is_prompt=True))
    with pytest.raises(RunStoreError, match="give it as image=VALUE"):
        prompt.run(".question nearest-images")
    with pytest.raises(ParameterError, match=r"write the value .*\.question NAME shots=VALUE"):
        prompt.run("select $shots;")


def test_a_command_of_the_prompt_that_does_not_exist_suggests_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = Prompt(StatementRunner(tmp_path))
    with pytest.raises(UnknownNameError, match=r"did you mean '\.views'"):
        prompt.run(".view")
    with pytest.raises(UnknownNameError, match="did you mean 'leaderboard'"):
        prompt.run(".describe leaderbord")
    prompt.run(".describe leaderboard")
    assert "accuracy_mean" in capsys.readouterr().out
    prompt.run(".views")
    assert "leaderboard" in capsys.readouterr().out
    prompt.run(".format md")
    prompt.run("select 1 as n;")
    assert capsys.readouterr().out.startswith("| n |")
    prompt.run(".format csv")
    prompt.run("select 1 as n;")
    assert capsys.readouterr().out == "n\n1\n"
    prompt.run(".questions")
    assert "hard-classes" in capsys.readouterr().out
    prompt.run(".help")
    assert ".quit" in capsys.readouterr().out
    assert prompt.columns.keys() <= set(view_names())


def test_views_and_columns_are_listed_once_and_no_table_beneath_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = Prompt(StatementRunner(tmp_path, Format.JSON))
    prompt.run(".views")
    listed = [row["name"] for row in json.loads(capsys.readouterr().out)]
    macros = ["features(encoder)", "similar_images(digest, encoder, top)"]
    assert listed == sorted([*view_names(), *macros])
    for view in ("runs", "predictions", "requests"):
        prompt.run(f".describe {view}")
        columns = [row["column_name"] for row in json.loads(capsys.readouterr().out)]
        assert columns == prompt.columns[view]
        assert len(set(columns)) == len(columns)
    assert prompt.columns.keys() == set(view_names())
