"""The installed command in a process of its own, on a machine that has seen nothing of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KEPT = ("PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS", "SYSTEMROOT")
# The proxy of a company, out of reach: nothing here needs it, the private server least of all.
PROXY = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
PROXY |= {"ALL_PROXY": "socks9://127.0.0.1:9"}  # of a kind that no client can use
OURS = ("indexing ", "encoding ", "training ")


def run(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `clip-adapter` with an empty home and an empty working folder."""
    for name in ("home", "cwd"):
        (tmp_path / name).mkdir(exist_ok=True)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.run(
        [Path(sys.executable).parent / "clip-adapter", *map(str, arguments)],
        cwd=tmp_path / "cwd",
        env=environment | {"HOME": str(tmp_path / "home")} | PROXY,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def files_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_training_writes_below_the_root_only_and_a_refusal_is_one_line(
    tmp_path: Path, root: Path, photos: Path, tiny_model: str
) -> None:
    """One test for both: the second command finds the features of the first."""
    train = ("train", f"imagefolder:{photos}", "--root", root, "--model", tiny_model)
    trained = run(tmp_path, *train, "--shots", "1", "--seeds", "1")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert [*files_below(tmp_path / "home"), *files_below(tmp_path / "cwd")] == []
    assert {path.name for path in root.iterdir()} == {"datasets", "features", "runs"}
    assert [line for line in trained.stderr.splitlines() if not line.startswith(OURS)] == []

    runs = files_below(root / "runs")
    refused = run(tmp_path, *train, "--shots", "40")
    assert (refused.returncode, refused.stdout) == (1, "")
    *before, last = refused.stderr.splitlines()
    assert [line for line in before if not line.startswith(OURS)] == []
    assert last.startswith("error: class ")
    assert files_below(root / "runs") == runs
    assert not list(root.rglob("*.tmp*"))


@pytest.mark.parametrize("arguments", [["sql", "SELECT 1 AS n"], ["datasets"], ["cache", "stats"]])
def test_a_question_leaves_no_trace(tmp_path: Path, root: Path, arguments: list[str]) -> None:
    root.mkdir()
    done = run(tmp_path, *arguments, "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert [*files_below(tmp_path / "home"), *files_below(tmp_path / "cwd")] == []
    assert files_below(root) == []
