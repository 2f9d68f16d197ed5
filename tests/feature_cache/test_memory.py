"""How much memory is left, by the smallest of the limits that apply."""

import subprocess
import sys
from pathlib import Path

import pytest

from feature_cache import memory
from feature_cache.memory import available_memory

LIMITED = """
import resource
from feature_cache.memory import available_memory
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
print(available_memory())
"""


def test_the_limit_of_the_process_counts() -> None:
    pytest.importorskip("resource", reason="Windows has no such limit")
    left = int(subprocess.check_output([sys.executable, "-c", LIMITED], text=True))
    assert 0 < left < 2**31


@pytest.mark.skipif(not Path("/proc/self/cgroup").is_file(), reason="no control groups here")
def test_the_limit_of_the_container_counts_without_files_that_can_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, limit, used in (
        (tmp_path, "memory.max", "memory.current"),
        (tmp_path / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / limit).write_text("10000000\n")
        (folder / used).write_text("7000000\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 2000000\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert available_memory() == 5_000_000


def test_without_a_limit_it_is_what_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert available_memory() > 100_000_000  # what runs these tests has more
