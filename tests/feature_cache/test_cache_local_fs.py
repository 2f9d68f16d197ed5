"""What is left behind when a writer dies or the disk refuses."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from feature_cache import list_files, local_fs, read_tables, write_table
from feature_cache.local_fs import make_folder, write_atomic
from feature_cache.paths import Entry

ROWS = pa.table({"name": ["a", "b", "c"]})

DYING_WRITER = """
import os, sys
from pathlib import Path
import pyarrow as pa
from feature_cache import write_table

real_write = os.write

def die(*arguments, **keywords):
    os.kill(os.getpid(), 9)

def write_a_third_and_die(descriptor, content):
    real_write(descriptor, content[: len(content) // 3])
    die()

setattr(os, sys.argv[2], write_a_third_and_die if sys.argv[2] == "write" else die)
write_table(Path(sys.argv[1]), pa.table({"name": ["a", "b", "c"]}), kind="k")
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_killed_writer_leaves_no_readable_file(tmp_path: Path, step: str) -> None:
    arguments = [sys.executable, "-c", DYING_WRITER, str(tmp_path), step]
    killed = subprocess.run(arguments, check=False, timeout=60)
    assert killed.returncode == -9
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    assert list_files(tmp_path) == []
    assert read_tables(tmp_path, kind="k", schema=ROWS.schema).num_rows == 0


@pytest.mark.slow
def test_the_next_writer_does_the_work_of_the_killed_one(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", DYING_WRITER, str(tmp_path), "replace"]
    subprocess.run(arguments, check=False, timeout=60)
    write_table(tmp_path, ROWS, kind="k")
    assert read_tables(tmp_path, kind="k", schema=ROWS.schema).equals(ROWS)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_disk_that_refuses_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_table(tmp_path, ROWS, kind="k")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (errno.ENOSPC, "free space on that disk (`clip-adapter cache stats` lists what takes it"),
        (errno.EDQUOT, "remove files of yours there, whose quota is used up"),
        (errno.EROFS, "have that file system mounted to be written to"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "open", "write", "fsync", "replace"])
def test_a_disk_that_takes_nothing_more_is_named_with_what_is_safe_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, reason: int, advice: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    folder = tmp_path / "runs"
    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match=os.strerror(reason)) as caught:
        write_table(folder, ROWS, kind="metrics")
    message = str(caught.value)
    assert caught.value.errno == reason
    assert f"3 rows of metrics (0.0 MB) could not be written to {folder}." in message
    assert "Everything that was stored before is complete and unchanged" in message
    assert f"{advice}" in message
    assert "run the same again" in message
    monkeypatch.undo()
    assert list(tmp_path.rglob("*.*")) == []


def test_an_error_of_the_disk_that_may_pass_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = OSError(errno.EIO, os.strerror(errno.EIO))

    def fail(*_: object) -> None:
        raise broken

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_table(tmp_path, ROWS, kind="k")
    assert caught.value is broken


def test_a_disk_that_fills_up_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    taken: list[int] = []

    def take_a_little_then_refuse(descriptor: int, content: memoryview) -> int:
        if taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken.append(real_write(descriptor, content[:10]))
        return taken[0]

    monkeypatch.setattr(os, "write", take_a_little_then_refuse)
    with pytest.raises(OSError, match="No space left"):
        write_table(tmp_path, ROWS, kind="k")
    assert taken == [10]
    assert list(tmp_path.iterdir()) == []


def test_a_system_that_takes_a_few_bytes_at_a_time_gets_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda to, content: real_write(to, content[:5]))
    write_atomic(tmp_path / "greeting", pa.py_buffer(b"well met by moonlight"))
    assert (tmp_path / "greeting").read_bytes() == b"well met by moonlight"


def noting(steps: list[str], name: str, call: Callable[..., object]) -> Callable[..., object]:
    def note_and_call(*arguments: object) -> object:
        steps.append(name)
        return call(*arguments)

    return note_and_call


def test_content_and_folder_are_synced_in_the_order_that_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, noting(steps, name, getattr(os, name)))
    write_table(tmp_path, ROWS, kind="k")
    assert steps == ["write", "fsync", "replace", "fsync"]


def test_every_new_folder_is_entered_in_its_parent_durably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("feature_cache.local_fs.fsync_dir", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_folder_is_listed_until_nothing_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that begins before a merge may miss both the new file and the removed ones."""
    passes = iter([["a", "b"], ["b"], ["b", "merged"], ["b", "merged"]])

    def scan(_: Path) -> dict[str, Entry]:
        return {name: Entry(name, 1, 0.0, is_folder=False) for name in next(passes)}

    monkeypatch.setattr(local_fs, "_scan", scan)
    assert {entry.name for entry in local_fs.list_entries(tmp_path)} == {"b", "merged"}


def test_a_temporary_file_that_goes_is_no_reason_to_list_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = iter([[".a.0.tmp"], ["a"]])

    def scan(_: Path) -> dict[str, Entry]:
        return {name: Entry(name, 1, 0.0, is_folder=False) for name in next(passes)}

    monkeypatch.setattr(local_fs, "_scan", scan)
    assert [entry.name for entry in local_fs.list_entries(tmp_path)] == ["a"]
