"""An export is there completely or not at all, whatever happens to its writer."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from exchange_samples import assert_same, sample

from feature_cache.exchange import (
    InvalidImportError,
    LabelledFeatures,
    read_clip_retrieval,
    read_npy,
    read_npz,
    read_safetensors,
    write_clip_retrieval,
    write_npy,
    write_npz,
    write_safetensors,
)

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


WRITERS: dict[str, Write] = {
    "x.npz": write_npz,
    "x.npy": write_npy,
    "x.safetensors": write_safetensors,
    "x": write_clip_retrieval,
}
READERS: dict[str, Callable[[Path], LabelledFeatures]] = {
    "x.npz": read_npz,
    "x.npy": read_npy,
    "x.safetensors": read_safetensors,
    "x": read_clip_retrieval,
}
DYING_WRITER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_exchange_crashes import WRITERS
from exchange_samples import sample
path, left = Path(sys.argv[1]), int(sys.argv[2])

def dying(call):
    def die_in_time(*arguments, **keywords):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return call(*arguments, **keywords)
    return die_in_time

for name in ("write", "fsync", "replace", "rename"):
    setattr(os, name, dying(getattr(os, name)))
WRITERS[path.name](path, sample(9), overwrite=True)
"""


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
def test_a_killed_writer_leaves_no_export(tmp_path: Path, name: str, steps: int) -> None:
    path = tmp_path / name
    here = str(Path(__file__).parent)
    arguments = [sys.executable, "-c", DYING_WRITER, str(path), str(steps), here]
    killed = subprocess.run(arguments, check=False, timeout=60)
    assert killed.returncode in (0, -9)  # a short writer is through before it can be killed
    if path.exists():  # all that could be lost came after the last rename
        assert len(READERS[name](path)) == 9
    else:
        with pytest.raises(InvalidImportError):
            READERS[name](path)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_disk_that_refuses_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[name](tmp_path / name, sample())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors", "x"])
def test_a_disk_that_refuses_leaves_the_old_export_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = WRITERS[name](tmp_path / name, sample())
    before = READERS[name](path)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[name](path, sample(9), overwrite=True)
    assert_same(READERS[name](path), before)
    assert list(tmp_path.iterdir()) == [path]


def test_old_features_never_remain_beside_new_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npy(tmp_path / "x.npy", sample())
    replace = os.replace

    def refuse_the_matrix(source: Path, target: Path) -> None:
        if target == path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_matrix)
    with pytest.raises(OSError, match="No space left"):
        write_npy(path, sample(9), overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == ["x_labels.csv"]


def test_an_old_folder_returns_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip_retrieval(tmp_path / "x", sample())
    before, rename = read_clip_retrieval(path), os.rename

    def refuse_the_new_folder(source: Path, target: Path) -> None:
        if source.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_the_new_folder)
    with pytest.raises(OSError, match="Input/output error"):
        write_clip_retrieval(path, sample(9), overwrite=True)
    assert_same(read_clip_retrieval(path), before)
    assert list(tmp_path.iterdir()) == [path]
