"""The installed command in a process of its own, on a machine that has seen nothing of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KEPT = ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS", "SYSTEMROOT")


def run(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `clip-adapter` with an empty home and an empty working folder."""
    for name in ("home", "cwd"):
        (tmp_path / name).mkdir(exist_ok=True)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.run(
        [Path(sys.executable).parent / "clip-adapter", *map(str, arguments)],
        cwd=tmp_path / "cwd",
        env=environment | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def files_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_everything_is_written_below_the_root_and_nothing_is_chattered(
    tmp_path: Path, root: Path, photos: Path, tiny_model: str
) -> None:
    quick = ("--shots", "1", "--seeds", "1", "--set", "clip-adapter.epochs=2")
    done = run(
        tmp_path, "train", f"imagefolder:{photos}", "--root", root, "--model", tiny_model, *quick
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_below(tmp_path / "home") == []
    assert files_below(tmp_path / "cwd") == []
    assert {path.name for path in root.iterdir()} == {"datasets", "features", "prefect", "runs"}
    assert not list(root.rglob("*.tmp*"))
    ours = ("indexing ", "encoding ", "training ")
    assert [line for line in done.stderr.splitlines() if not line.startswith(ours)] == []


def test_a_refusal_by_a_flow_is_one_line(
    tmp_path: Path, root: Path, photos: Path, tiny_model: str
) -> None:
    asked = ("--root", root, "--model", tiny_model, "--shots", "40")
    done = run(tmp_path, "train", f"imagefolder:{photos}", *asked)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: class ")
    assert "Traceback" not in done.stderr
    assert not (root / "runs").exists()


@pytest.mark.parametrize("arguments", [["sql", "SELECT 1 AS n"], ["datasets"], ["cache", "stats"]])
def test_a_question_leaves_no_trace(tmp_path: Path, root: Path, arguments: list[str]) -> None:
    root.mkdir()
    done = run(tmp_path, *arguments, "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert [*files_below(tmp_path / "home"), *files_below(tmp_path / "cwd")] == []
    assert files_below(root) == []
