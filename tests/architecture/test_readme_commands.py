"""What the README shows is typed: its commands on a small store, in their order, and its Python."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.encoders import BUILT_IN

Command = Callable[..., "object"]
DATASET = "imagefolder-colours-87987479"
"""The dataset of the golden store, which has a champion and runs of 1 and 4 shots."""

N_PHOTOS = 80
"""Number of photos of each of the three classes."""

STAND_INS = {
    "train imagefolder:~/photos": "train imagefolder:photos",
    "eurosat": DATASET,
    "digits": DATASET,
    "--shots 16": "--shots 4",
    "shots = 16": "shots = 4",
}
NOT_TYPED = {
    "git clone": "needs a network",
    "hf upload": "needs a network, and a repository on the hub",
    "python eurosat-classifier/classify.py": "tests/clip_adapter/exports type it",
    "make": "installs, or takes minutes; the names of targets are checked with the documents",
    "export": "belongs to the shell",
    ".": "belongs to the shell",
    "prefect deployment run": "needs a server; tests/e2e run deployments",
    "clip-adapter rollback": "needs two champions; tests/clip_adapter/cli/test_cli_champion.py",
    "clip-adapter demo": "takes half a minute; tests/e2e type it where the wheel is installed",
    "clip-adapter datasets fetch": "needs a network; tests/clip_adapter/pipeline/test_fetch.py",
    "clip-adapter extract eurosat": "needs weights from the network",
    "clip-adapter train digits --methods all": "takes minutes; test_every_method_is_honest.py",
    "clip-adapter train digits --methods auto": "needs images to train on; methods/test_auto.py",
    "clip-adapter train digits --shots 4,16": "takes minutes; both settings have tests of their own",
    "clip-adapter reproduce": "trains for minutes; tests/clip_adapter/cli/test_cli_reproduce.py",
}


def lines_to_type(readme: str) -> Iterator[str]:
    """The commands of the console blocks and of the table about the cache."""
    for block in re.findall(r"```console\n(.*?)```", readme, re.DOTALL):
        yield from (line.strip() for line in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:])
    yield from re.findall(r"^\|.*\| `(clip-adapter [^`]*)` \|$", readme, re.MULTILINE)


def test_statements_of_the_readme_leave_runs_of_studies_out(readme: str) -> None:
    statements = [line for line in lines_to_type(readme) if line.startswith('clip-adapter sql "')]
    assert statements
    assert [line for line in statements if re.search(r"\b(FROM|JOIN) runs\b", line)] == []


def reasons_not_to_type(line: str) -> list[str]:
    return [why for begin, why in NOT_TYPED.items() if f"{line} ".startswith(f"{begin} ")]


@pytest.fixture(name="readme")
def _readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text()


@pytest.fixture(name="desk")
def _desk(
    checkout: Path,
    tmp_path: Path,
    put_photos: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The working folder: photos, features in a file, and the golden store as the default root.

    There are enough photos for a champion to be proven.
    """
    desk = tmp_path
    for class_name in ("red", "green", "blue"):
        put_photos(desk / "photos", class_name, range(N_PHOTOS))
    put_photos(desk, "new photos", range(200, 203), colour="red")
    (desk / "new photos" / "200.jpg").rename(desk / "new photos" / "001.jpg")
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    np.savez(
        desk / "flowers.npz",
        features=generator.normal(size=(120, 8)).astype(np.float32),
        labels=labels,
        class_names=np.array(["aster", "iris", "rose"]),
        text_features=generator.normal(size=(3, 8)).astype(np.float32),
    )
    shutil.copytree(checkout / "tests/golden/store-2", desk / "clip-adapter-store")
    # The default for photos has to be downloaded.
    monkeypatch.setattr("clip_adapter.pipeline.default_model.DEFAULT_MODEL", BUILT_IN)
    monkeypatch.chdir(desk)
    return desk


def test_every_command_that_is_not_typed_is_in_the_readme(readme: str) -> None:
    lines = list(lines_to_type(readme))
    assert len(lines) > 25
    assert [
        begin
        for begin in NOT_TYPED
        if not any(f"{each} ".startswith(f"{begin} ") for each in lines)
    ] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("desk")
def test_the_commands_of_the_readme_run_in_their_order(readme: str, command: Command) -> None:
    typed, failed = 0, []
    for line in lines_to_type(readme):
        if reasons_not_to_type(line):
            continue
        shown = line
        for name, stand_in in STAND_INS.items():
            line = line.replace(name, stand_in)  # noqa: PLW2901  # step by step
        program, *arguments = shlex.split(line, comments=True)
        assert program == "clip-adapter", shown
        if arguments[0] == "train" and "--promote" not in arguments:  # fewer runs than by default
            arguments += ["--shots", "1", "--seeds", "1"]
        outcome = command(*arguments)
        typed += 1
        if outcome.code:
            failed.append((shown, outcome.err))
    assert failed == []
    assert typed > 12


@pytest.mark.usefixtures("desk")
def test_the_python_of_the_readme_runs(readme: str) -> None:
    pytest.importorskip("pandas")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102  # our own text
    assert len(names["features"]) == 3 * N_PHOTOS  # type: ignore[arg-type]
    predicted = names["predictions"].to_arrow()["predicted"]  # type: ignore[attr-defined]
    assert predicted.to_pylist() == ["red"] * 3
    assert names["scores"].shape == (8, 10)  # type: ignore[attr-defined]
