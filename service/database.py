"""Prefect's database, a file of SQLite below PREFECT_HOME: whether it is whole, and what to do if not.

It holds the history of flow runs, schedules and what is paused. No feature, run, metric or champion is in it.
"""

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from clip_adapter.errors import UnavailableError
from clip_adapter.escaping import escape_control_characters

NAME = "prefect.db"
_BESIDE = ("", "-wal", "-shm")
"""Ends of the names of the files that SQLite keeps for one database."""
_WHAT_IS_LOST = "The history of flow runs and what was paused are lost with it; features, runs and champions are not in it"


def damage_of(home: Path) -> str | None:
    """Why the database below a PREFECT_HOME cannot be used; None if it is whole, absent or in use.

    Every page is read, which takes a second for some 300 MB.
    """
    path = home / NAME
    if not path.is_file():
        return "it is no file" if os.path.lexists(path) else None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:  # locked by a server, or not ours to open
        return None
    except sqlite3.DatabaseError as error:
        return str(error)
    # The first line may be a heading, as "*** in database main ***".
    return None if found == "ok" else str(found).strip().split("\n")[-1]


def explain_damage(home: Path, reason: str) -> str:
    """A sentence on a damaged database and the way out."""
    return (
        f"Prefect's database {home / NAME} is damaged ({escape_control_characters(reason)}): `clip-adapter "
        f"down` and `clip-adapter up` keep it aside and make a new one. {_WHAT_IS_LOST}"
    )


def keep_damaged_aside(home: Path) -> str | None:
    """Rename a damaged database that no server uses, so that the next one makes a new one.

    Returns:
        A sentence that says what was done; None if the database is whole or absent.

    Raises:
        OSError: it cannot be renamed.
    """
    reason = damage_of(home)
    if reason is None:
        return None
    end = f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for beside in reversed(_BESIDE):
        with suppress(FileNotFoundError):
            (home / f"{NAME}{beside}").rename(home / f"{NAME}{end}{beside}")
    return (
        f"Prefect's database was damaged ({escape_control_characters(reason)}) and is kept as "
        f"{home / (NAME + end)}; a new one is made. {_WHAT_IS_LOST}"
    )


def check_home(home: Path) -> None:
    """Check that Prefect can write its database; the folder is created if it is missing.

    Raises:
        UnavailableError: it cannot; the message says why and what to do.
    """
    database = home / NAME
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        if database.is_file():
            with database.open("r+b"):
                pass
    except OSError as error:
        raise UnavailableError(
            f"Prefect keeps its database in {home}, which takes nothing new ({error.strerror}): make it and "
            f"{NAME} in it writable for you and free space there, or choose another place, with --root or, for "
            "--prefect, PREFECT_HOME. What is stored elsewhere is unchanged"
        ) from None
