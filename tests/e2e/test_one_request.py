"""One request by command and by deployment: the same runs; and images that go and come back."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Prefect

from clip_adapter.runs import query

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MakePrefect = Callable[[Path, Path], Prefect]
Command = Callable[..., Any]
DEPLOYMENT = "train-adapters/photos"
RUNS = """
SELECT fingerprint, method, shots, seed, split, name, round(value, 9) AS value
FROM runs JOIN metrics USING (run_id) WHERE name NOT LIKE '%seconds%' ORDER BY ALL
"""
SHOWN = "SELECT method, shots, accuracy_mean, last_run FROM leaderboard ORDER BY ALL"


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory, put_photos: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("photos") / "photos"
    for class_name in ("red", "green", "blue"):
        put_photos(folder, class_name, range(30))
    return folder


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory, make_prefect: MakePrefect) -> Prefect:
    place = tmp_path_factory.mktemp("one-request")
    server = make_prefect(place / "prefect", place / "store")
    server.start_server()
    server.deploy("photos")
    server.start_worker()
    return server


@pytest.fixture(scope="module", name="parameters")
def _parameters(folder: Path, tiny_model: str) -> dict[str, Any]:
    return {
        "dataset": f"imagefolder:{folder}",
        "model": tiny_model,
        "methods": ["zero-shot", "linear-probe", "clip-adapter"],
        "shots": [1, "all"],
        "seeds": [1, 2],
        "settings": {"clip-adapter": {"epochs": 2}},
        "promote": False,
    }


def deployed(server: Prefect, parameters: dict[str, Any]) -> str:
    """Run the deployment; the name of its final state."""
    run = server.wait_for(server.run_deployment(DEPLOYMENT, **parameters))
    assert run["state_type"] == "COMPLETED", server.logs(run["id"])
    return str(run["state"]["name"])


@pytest.fixture(name="options_for")
def _options_for(folder: Path, tiny_model: str) -> Callable[[Path], list[str]]:
    """The same request on the command line, for a store."""
    options = ["--model", tiny_model, "--shots", "1,all", "--seeds", "1,2"]
    options += ["--set", "clip-adapter.epochs=2", "--json"]
    return lambda root: [f"imagefolder:{folder}", *options, "--root", str(root)]


def with_prefect(options: list[str]) -> dict[str, Any]:
    """What the command tells in a process of its own, where the flow runs."""
    program = "from clip_adapter.cli import main; main()"
    command = [sys.executable, "-c", program, "train", *options, "--prefect"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_a_request_by_command_and_by_deployment_makes_the_same_runs(
    server: Prefect,
    parameters: dict[str, Any],
    options_for: Callable[[Path], list[str]],
    root: Path,
    command: Command,
) -> None:
    assert deployed(server, parameters) == "Completed"
    theirs = Path(server.environment["CLIP_ADAPTER_ROOT"])
    trained = command("train", *options_for(root))
    assert json.loads(trained.out)["runs_trained"] == 9, trained.err
    ours, by_deployment = (query(each, RUNS).to_pylist() for each in (root, theirs))
    assert len(ours) > 9
    assert ours == by_deployment
    # What one has made the other finds, and so does the flow that the command runs.
    same = options_for(theirs)
    assert json.loads(command("train", *same).out)["runs_on_record"] == 9
    assert with_prefect(same)["up_to_date"]
    assert deployed(server, parameters) == "UpToDate"


def test_images_that_go_and_come_back_bring_their_numbers_to_a_deployment(
    server: Prefect, parameters: dict[str, Any], folder: Path
) -> None:
    root = Path(server.environment["CLIP_ADAPTER_ROOT"])
    deployed(server, parameters)
    in_a = query(root, SHOWN).to_pylist()
    shutil.move(folder / "green", folder.parent / "green")
    assert deployed(server, parameters) == "Completed"
    assert query(root, SHOWN).to_pylist() != in_a
    shutil.move(folder.parent / "green", folder / "green")
    assert deployed(server, parameters) == "UpToDate"
    assert query(root, SHOWN).to_pylist() == in_a
