"""The same flow on a cluster of two processes leaves what it leaves in one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import get_current_settings
from states import damaged_files, rows_in

from clip_adapter.runs import query

pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("prefect_server"),
]

CHECKOUT = Path(__file__).parents[2]
# A worker of Prefect loads a flow by its path, too.
PROGRAM = """
import json, sys
from prefect.flows import load_flow_from_entrypoint
if __name__ == "__main__":
    flow = load_flow_from_entrypoint("flows/train_adapters.py:train_adapters")
    trained = flow(**json.loads(sys.argv[1]))
    print(json.dumps([trained.encoded.n_encoded, trained.encoded.n_reused, trained.runs.n_trained]))
"""
SWEEP = {
    "methods": ["zero-shot", "linear-probe", "clip-adapter"],
    "shots": [1, 2],
    "seeds": [1, 2],
    "settings": {"clip-adapter": {"epochs": 2}},
}

Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(name="train", scope="module")
def _train(tmp_path_factory: pytest.TempPathFactory, tiny_model: str, put_photos: Any) -> Train:
    """Run the flow in a process of its own; with `dask` set its tasks go to a cluster."""
    place = tmp_path_factory.mktemp("dask")
    program, photos = place / "program.py", place / "photos"
    program.write_text(PROGRAM)
    for class_name in ("red", "green", "blue"):
        put_photos(photos, class_name, range(30))

    def train(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        asked = {"dataset": f"imagefolder:{photos}", "model": tiny_model, "root": str(root)}
        inherited = {
            "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{Path(__file__).parent}",
            "PREFECT_API_URL": str(get_current_settings().api.url),
            "CLIP_ADAPTER_ENCODERS": "2",
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "dask_preload",
        }
        return subprocess.run(
            [sys.executable, str(program), json.dumps({**asked, **SWEEP})],
            cwd=CHECKOUT,
            env=os.environ | inherited | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    return train


@pytest.fixture(name="alone", scope="module")
def _alone(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that a run in a single process leaves."""
    root = tmp_path_factory.mktemp("alone") / "store"
    assert counts(train(root)) == [90, 0, 9]
    return root


def counts(done: subprocess.CompletedProcess[str]) -> list[int]:
    assert done.returncode == 0, done.stderr[-4000:]
    numbers: list[int] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def runs(root: Path) -> list[dict[str, Any]]:
    question = """
    SELECT method, shots, seed, fingerprint, round(value, 6) AS accuracy FROM runs
    JOIN metrics USING (run_id) WHERE split = 'test' AND name = 'accuracy' ORDER BY ALL
    """
    return query(root, question).to_pylist()


def test_a_cluster_leaves_the_same_features_and_runs(train: Train, alone: Path, root: Path) -> None:
    assert counts(train(root, CLIP_ADAPTER_DASK="local:2")) == [90, 0, 9]
    assert rows_in(root, below="features") == rows_in(alone, below="features")
    assert runs(root) == runs(alone)
    (sweep,) = query(root, "SELECT count(DISTINCT sweep_id) AS n FROM runs").to_pylist()
    assert sweep["n"] == 1
    assert damaged_files(root) == []


def test_what_a_killed_worker_left_undone_the_next_run_does(
    train: Train, alone: Path, root: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    train(root, CLIP_ADAPTER_DASK="local:2", TEST_DEATH_MARKER=str(marker))
    assert marker.exists()
    n_encoded, n_reused, _ = counts(train(root, CLIP_ADAPTER_DASK="local:2"))
    assert n_encoded + n_reused == 90
    # What the victim had stored before it died is not made again.
    assert n_reused >= 12
    assert rows_in(root, below="features") == rows_in(alone, below="features")
    assert runs(root) == runs(alone)
    assert damaged_files(root) == []
