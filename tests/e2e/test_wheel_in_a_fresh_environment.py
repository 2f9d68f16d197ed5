"""The built wheel does its work alone: without Prefect, away from any checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from environments import Environment, make_environment

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
FEW = ("--shots", 1, "--seeds", 1)
PHOTOS = ("imagefolder:photos", "--model", "glyphs")
"""The default for photos would have to be downloaded."""
OF_THE_CHECKOUT = ("prefect", "flows", "tasks", "service", "pandas", "pytest")


@pytest.fixture(scope="module", name="installed")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("fresh")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(CHECKOUT)], check=True, capture_output=True)
    return make_environment(next(folder.glob("*.whl")), folder)


@pytest.fixture(scope="module", name="desk")
def _desk(
    installed: Environment, put_photos: object, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where commands are typed: photos lie there, and methods have been trained on them."""
    folder = tmp_path_factory.mktemp("desk")
    for class_name in ("red", "blue"):
        put_photos(folder / "photos", class_name, range(100))  # type: ignore[operator]  # a fixture
    done = installed.command(
        "train", *PHOTOS, *FEW, "--methods", "zero-shot,gda", "--promote", cwd=folder
    )
    assert "2 runs trained" in done.stdout
    assert "promoted" in done.stdout
    assert (folder / "clip-adapter-store").is_dir()
    for class_name in ("red", "blue"):
        put_photos(folder / "new photos", class_name, range(200, 203))  # type: ignore[operator]  # as above
    return folder


def test_nothing_of_the_checkout_is_there(installed: Environment, tmp_path: Path) -> None:
    code = f"""
import importlib.util, clip_adapter
print([name for name in {OF_THE_CHECKOUT} if importlib.util.find_spec(name)])
print(clip_adapter.__file__)
"""
    found, place = installed.python(code, cwd=tmp_path).stdout.splitlines()
    assert found == "[]"
    assert Path(place).is_relative_to(installed.folder)


def test_help_lists_the_commands_that_work_here(installed: Environment, tmp_path: Path) -> None:
    shown = installed.command("--help", cwd=tmp_path).stdout
    listed = {line.split()[1] for line in shown.splitlines() if line.startswith("│ ")}
    assert listed >= {"demo", "extract", "train", "reproduce", "sql", "report", "champion", "cache"}
    assert listed >= {"predict", "search"}
    assert not listed & {"up", "down", "status"}


def test_the_demo_trains_and_then_has_nothing_to_do(installed: Environment, tmp_path: Path) -> None:
    first = installed.command("demo", cwd=tmp_path).stdout
    assert "1,797 images encoded" in first
    assert "31 runs trained" in first
    again = installed.command("demo", cwd=tmp_path).stdout
    assert "0 images encoded" in again
    assert "0 runs trained" in again
    assert list(installed.home.iterdir()) == []


def test_features_are_encoded_once(installed: Environment, desk: Path) -> None:
    done = installed.command("extract", *PHOTOS, "--json", cwd=desk)
    summary = json.loads(done.stdout)
    assert (summary["encoded"], summary["reused"]) == (0, 200)


def test_an_ablation_is_reproduced(installed: Environment, desk: Path) -> None:
    arguments = ("output-activation", *PHOTOS, *FEW, "--recipe", "fast")
    done = installed.command("reproduce", *arguments, cwd=desk)
    assert "2 runs trained" in done.stdout


def test_runs_answer_questions(installed: Environment, desk: Path) -> None:
    question = "SELECT method, count(*) AS n FROM current_runs GROUP BY ALL ORDER BY method"
    done = installed.command("sql", question, "--format", "csv", cwd=desk)
    assert done.stdout.split() == ["method,n", "gda,1", "zero-shot,1"]
    compared = ("compare", "gda", "zero-shot", "--dataset", "imagefolder:photos", "--shots", 1)
    assert "gda" in installed.command(*compared, cwd=desk).stdout


@pytest.mark.parametrize("name", ["results.md", "results.html"])
def test_a_report_is_written(installed: Environment, desk: Path, name: str) -> None:
    installed.command("report", "--to", name, cwd=desk)
    assert "gda" in (desk / name).read_text()


def test_the_champion_is_known_and_its_file_can_be_had(installed: Environment, desk: Path) -> None:
    champion = ("champion", "imagefolder:photos")
    shown = installed.command(*champion, "--to", "gda.safetensors", cwd=desk).stdout
    assert "gda" in shown
    assert (desk / "gda.safetensors").is_file()
    assert "promoted" in installed.command(*champion, "--history", cwd=desk).stdout
    assert "--to" in installed.command("rollback", "--help", cwd=desk).stdout


def test_new_photos_are_classified_by_the_champion(installed: Environment, desk: Path) -> None:
    asked = ("predict", "champion:photos", "new photos", "--format", "csv")
    done = installed.command(*asked, cwd=desk)
    rows = [line.split(",")[:2] for line in done.stdout.splitlines()[1:]]
    assert len(rows) == 6
    assert all(predicted == Path(path).parent.name for path, predicted in rows)
    assert "6 encoded" in done.stderr or "6 reused" in done.stderr
    assert "6 reused" in installed.command(*asked, cwd=desk).stderr


def test_photos_are_found_by_words(installed: Environment, desk: Path) -> None:
    asked = ("search", "red", "--dataset", "photos", "--top", 3, "--format", "csv")
    assert len(installed.command(*asked, cwd=desk).stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("stats",), "glyphs"),
        (("verify", "--deep"), "files"),
        (("why", "--dataset", "imagefolder:photos", "--model", "glyphs"), "reused"),
        (("export", "--dataset", "imagefolder:photos", "--to", "photos.npz"), "photos.npz"),
    ],
)
def test_the_cache_is_looked_after(
    installed: Environment, desk: Path, arguments: tuple[str, ...], word: str
) -> None:
    assert word in installed.command("cache", *arguments, cwd=desk).stdout


@pytest.mark.parametrize(("name", "word"), [("methods", "clip-adapter"), ("datasets", "photos")])
def test_what_there_is_is_listed(installed: Environment, desk: Path, name: str, word: str) -> None:
    assert word in installed.command(name, cwd=desk).stdout


@pytest.mark.parametrize("arguments", [("up",), ("train", "imagefolder:photos", "--prefect")])
def test_what_needs_a_checkout_says_so(
    installed: Environment, desk: Path, arguments: tuple[str, ...]
) -> None:
    said = installed.command(*arguments, cwd=desk, code=1).stderr
    assert "comes with a checkout" in said
    assert "pip install -e" in said


def test_what_was_trained_is_used_from_python(installed: Environment, desk: Path) -> None:
    code = """
from clip_adapter import CachedImageEncoder, FewShotClassifier, load, predict
photos = ["new photos/red/200.jpg", "new photos/blue/200.jpg"]
print(predict("champion:photos", photos).to_arrow().column("predicted").to_pylist())
print(load("champion:photos").predict(photos).tolist())
features = CachedImageEncoder("glyphs").fit(photos).transform(photos)
print(FewShotClassifier("gda").fit(features, ["red", "blue"]).predict(features).tolist())
"""
    lines = installed.python(code, cwd=desk).stdout.splitlines()
    assert lines == ["['red', 'blue']"] * 3


def test_the_functions_do_what_the_commands_do(installed: Environment, desk: Path) -> None:
    code = """
from clip_adapter import connect, extract, promote, train
from clip_adapter.errors import UnavailableError
photos, few = ("imagefolder:photos", "glyphs"), {"shots": [1], "seeds": [1], "methods": ["zero-shot", "gda"]}
print(extract(*photos).to_arrow().num_rows)
print(train(*photos, **few).to_arrow().column("method").to_pylist())
print(promote(*photos, **few).is_new)
with connect() as database:
    print(database.query("SELECT count(*) AS n FROM promotions").to_pylist())
try:
    train(*photos, **few).to_pandas()
except UnavailableError as error:
    print(error)
"""
    lines = installed.python(code, cwd=desk).stdout.splitlines()
    assert lines[:4] == ["200", "['zero-shot', 'gda']", "False", "[{'n': 1}]"]
    assert "pip install 'clip-adapter[pandas]'" in lines[4]
