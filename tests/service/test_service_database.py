"""A damaged database of Prefect is named, kept aside and replaced; a whole one is left alone."""

import errno
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.errors import UnavailableError
from service import commands
from service.control import State
from service.database import NAME, check_home, damage_of, keep_damaged_aside
from service.folder import StatusFile

Command = Callable[..., Any]


@pytest.fixture(name="home")
def _home(root: Path) -> Path:
    """A PREFECT_HOME with a database of some pages."""
    home = root / "prefect" / "home"
    home.mkdir(parents=True)
    with closing(sqlite3.connect(home / NAME)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE flow_run (id TEXT PRIMARY KEY, name TEXT)")
        rows = [(f"{number}", "x" * 500) for number in range(200)]
        database.executemany("INSERT INTO flow_run VALUES (?, ?)", rows)
        database.commit()
    return home


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"<html>502 Bad Gateway</html>" * 400)


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    path.write_bytes(content)


DAMAGES = (cut, overwrite, scramble)
REASONS = (
    (cut, "database disk image is malformed"),
    (overwrite, "file is not a database"),
    (scramble, "Page 2: "),
)


@pytest.mark.parametrize(("damage", "reason"), REASONS)
def test_the_reason_is_what_sqlite_found(
    home: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(home / NAME)
    found = damage_of(home)
    assert found is not None
    assert found.startswith(reason)
    assert "\n" not in found
    told = keep_damaged_aside(home)
    assert told is not None
    assert f"was damaged ({found}) and is kept" in told


@pytest.mark.parametrize("damage", DAMAGES)
def test_status_names_it_with_the_way_out(
    command: Command, root: Path, home: Path, damage: Callable[[Path], None]
) -> None:
    assert "damaged" not in command("status", "--root", root).out
    damage(home / NAME)
    shown = command("status", "--root", root).out
    for words in (str(home / NAME), "is damaged", "`clip-adapter up`", "champions are not in it"):
        assert words in shown
    told = json.loads(command("status", "--root", root, "--json").out)
    assert str(home / NAME) in told["database"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_up_keeps_it_aside_under_a_name_that_tells(
    command: Command,
    root: Path,
    home: Path,
    damage: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bring_up(*_: object, **__: object) -> State:
        assert not (home / NAME).exists()
        return State(StatusFile(pid=1, port=1, stage="up"), is_supervised=True)

    monkeypatch.setattr(commands, "bring_up", bring_up)
    monkeypatch.setattr(commands, "changed_names", lambda *_: [])
    damage(home / NAME)
    content = (home / NAME).read_bytes()
    outcome = command("up", "--root", root)
    assert outcome.code == 0
    (aside,) = home.glob(f"{NAME}.damaged-*")
    assert f"is kept as {aside}; a new one is made" in outcome.out
    assert aside.read_bytes() == content


def test_a_whole_database_stays_also_while_another_process_writes_to_it(home: Path) -> None:
    with closing(sqlite3.connect(home / NAME)) as server:
        server.execute("BEGIN EXCLUSIVE")
        server.execute("INSERT INTO flow_run VALUES ('new', '')")
        assert damage_of(home) is None
        assert keep_damaged_aside(home) is None
    assert keep_damaged_aside(home) is None
    assert (home / NAME).is_file()


def test_where_there_is_none_there_is_no_damage(tmp_path: Path) -> None:
    assert damage_of(tmp_path) is None
    assert keep_damaged_aside(tmp_path / "nowhere") is None


def test_a_home_that_takes_nothing_new_is_refused_before_a_server_is_started(
    command: Command, root: Path, home: Path
) -> None:
    (home / NAME).unlink()
    home.rmdir()
    home.write_text("no folder")
    with pytest.raises(UnavailableError, match="takes nothing new"):
        check_home(home)
    outcome = command("up", "--root", root)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1


def test_a_read_only_file_system_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UnavailableError, match=r"nothing new \(Read-only file system\).*--root"):
        check_home(home)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_database_that_cannot_be_written_is_refused(home: Path) -> None:
    (home / NAME).chmod(0o400)
    with pytest.raises(UnavailableError, match=f"make it and {NAME} in it writable"):
        check_home(home)
