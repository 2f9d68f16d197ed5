"""The worked example of `docs/own-method.md`, as the document shows it."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.methods import registry
from clip_adapter.pipeline.train import train
from clip_adapter.runs import query
from clip_adapter.training import SettingsError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "own-method.md").read_text()
METHOD, USE = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
ENTRY = re.findall(r"\[project.entry-points.*?\]\n(.*?)```", DOCUMENT, re.DOTALL)[0].replace(
    '"', ""
)
Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_method(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "class_means.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "class_means", raising=False)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", str(root))
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


def as_installed(folder: Path) -> None:
    """What `pip install -e .` leaves behind."""
    info = folder / "class_means-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: class-means\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[clip_adapter.methods]\n{ENTRY}")


def test_the_example_trains_and_answers() -> None:
    assert len(METHOD.splitlines()) < 40
    found: dict[str, Any] = {}
    exec(USE, found)  # noqa: S102  # the document's own lines
    accuracies = {
        (row["method"], row["shots"]): row["accuracy_mean"] for row in found["leaders"].to_pylist()
    }
    assert set(accuracies) == {("zero-shot", 0), ("class-means", 1), ("class-means", 4)}
    assert accuracies["class-means", 4] > accuracies["zero-shot", 0]
    assert found["runs"].to_pylist() == [
        {"shots": shots, "seed": seed, "text_weight": "0.3"} for shots in (1, 4) for seed in (1, 2)
    ]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"text_wieght": 0.3}, UnknownNameError, "did you mean 'text_weight'"),
        ({"text_weight": "much"}, SettingsError, "text_weight is 'much': .* number"),
        ({"text_weight": 2}, SettingsError, "text_weight is 2.0; expected 0 to 1"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_stored(
    settings: dict[str, Any], error: type[Exception], message: str, root: Path, tmp_path: Path
) -> None:
    as_installed(tmp_path)
    with pytest.raises(error, match=message):
        train("digits", methods=["class-means"], settings={"class-means": settings}, root=root)
    assert not root.exists()


def test_a_command_finds_the_installed_method_and_its_code_is_part_of_a_run(
    command: Command, photos: Path, root: Path, tmp_path: Path, tiny_model: str
) -> None:
    as_installed(tmp_path)
    assert "class-means" in command("methods").out
    line = ["train", f"imagefolder:{photos}", "--model", tiny_model, "--methods", "class-means"]
    asked = [*line, "--shots", "1", "--seeds", "1", "--set", "class-means.text_weight=0.3"]
    assert command(*asked).code == 0
    assert "1 recorded already" in command(*asked).out
    _change_the_code(tmp_path / "class_means.py", "# A comment changes no number.\n")
    assert "1 recorded already" in command(*asked).out
    _change_the_code(tmp_path / "class_means.py", "CONSTANT = 1\n")
    assert "1 runs trained" in command(*asked).out
    rows = query(root, "SELECT hyperparameters['text_weight'] AS weight FROM runs").to_pylist()
    assert rows == [{"weight": "0.3"}] * 2


def _change_the_code(path: Path, line: str) -> None:
    """As between two processes, which import the file anew."""
    path.write_text(path.read_text() + line)
    del sys.modules["class_means"]
    registry._registered.clear()
