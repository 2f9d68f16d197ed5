"""What importing a room loads: the command answers before torch could have been imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ORCHESTRATION = {"prefect", "tasks", "flows"}
LEARNING = {"torch", "open_clip", "sklearn", "torchvision"}
LIGHT = {
    "clip_adapter": LEARNING | ORCHESTRATION | {"numpy", "pyarrow", "duckdb"},
    "clip_adapter.cli": LEARNING | ORCHESTRATION | {"altair", "vl_convert", "jinja2"},
    "clip_adapter.datasets": LEARNING | ORCHESTRATION | {"pyarrow", "duckdb"},
    "clip_adapter.images": LEARNING | ORCHESTRATION | {"pyarrow", "duckdb"},
    "clip_adapter.runs": LEARNING | ORCHESTRATION,
    "clip_adapter.report": LEARNING | ORCHESTRATION,
    "feature_cache": LEARNING | ORCHESTRATION | {"clip_adapter", "PIL"},
    "feature_cache.exchange": LEARNING | ORCHESTRATION | {"clip_adapter", "PIL", "duckdb"},
    "clip_adapter.methods": ORCHESTRATION | {"pyarrow", "duckdb", "feature_cache"},
}


@pytest.mark.parametrize("room", LIGHT)
def test_importing_a_room_loads_nothing_it_can_do_without(room: str, tmp_path: Path) -> None:
    assert _loaded_by(room, cwd=tmp_path) & LIGHT[room] == set()


def _loaded_by(module: str, *, cwd: Path) -> set[str]:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}
