"""Content-addressed files that are not tables: complete under their digest, or detected as damaged."""

import hashlib
import os
from pathlib import Path

import pytest

from feature_cache import (
    CorruptFileError,
    InvalidInputError,
    Location,
    classifier_folder,
    find_leftovers,
    inspect_store,
    quarantine_file,
    read_content,
    storage,
    write_content,
)

CONTENT = b"a classifier"


def put(root: Location, content: bytes = CONTENT) -> Location:
    return write_content(classifier_folder(root, "digits"), content)


def test_what_is_written_is_read_back_under_its_digest(any_root: Location) -> None:
    path = put(any_root)
    assert path.name == f"{hashlib.sha256(CONTENT).hexdigest()}.safetensors"
    assert read_content(path) == CONTENT


def test_the_same_bytes_are_one_file(any_root: Location) -> None:
    assert put(any_root) == put(any_root)
    assert len(storage.list_entries(classifier_folder(any_root, "digits"))) == 1


def test_a_changed_file_is_not_read(root: Path) -> None:
    path = Path(str(put(root)))
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(CorruptFileError, match="SHA-256"):
        read_content(path)


def test_a_damaged_file_is_replaced_when_it_is_written_again(root: Path) -> None:
    path = Path(str(put(root)))
    path.write_bytes(b"")
    assert read_content(put(root)) == CONTENT


def test_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    path = Path(str(put(root)))
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptFileError, match="symbolic link"):
        read_content(path)


def test_a_name_cannot_lead_out_of_the_folder(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="dataset name is"):
        classifier_folder(root, "../elsewhere")


def test_a_writer_that_fails_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        put(root)
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_only_a_deep_look_reads_it(root: Path) -> None:
    Path(str(put(root))).write_bytes(b"")
    (shallow,), (deep,) = (list(inspect_store(root, deep=each)) for each in (False, True))
    assert shallow.problem is None
    assert isinstance(deep.problem, CorruptFileError)


def test_a_sound_one_passes_a_deep_look(root: Path) -> None:
    put(root)
    (found,) = inspect_store(root, deep=True)
    assert (found.size_bytes, found.problem) == (len(CONTENT), None)


def test_a_quarantined_one_is_a_leftover(root: Path) -> None:
    path = put(root)
    Path(str(path)).write_bytes(b"")
    quarantine_file(path, CorruptFileError(path, "cut short"))
    (leftover,) = find_leftovers(root)
    assert leftover.kind == "damaged"


def test_what_a_dead_writer_left_is_a_leftover_after_a_day(root: Path) -> None:
    path = Path(str(put(root)))
    unfinished = path.with_name(f".{path.stem}.0123456789abcdef.tmp")
    path.rename(unfinished)
    written = unfinished.stat().st_mtime
    assert find_leftovers(root, now=written + 60) == []
    (leftover,) = find_leftovers(root, now=written + 90_000)
    assert (leftover.path, leftover.kind) == (unfinished, "unfinished")
