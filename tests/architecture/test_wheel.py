"""The wheel is the library; the checkout is the pipeline."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest


@pytest.fixture(scope="module", name="wheel")
def _wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place)]
    done = subprocess.run([*command, str(checkout)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(place.glob("*.whl")))


def test_the_wheel_holds_the_two_libraries_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "clip_adapter",
        "feature_cache",
    }


@pytest.mark.parametrize(
    "name",
    [
        "clip_adapter/py.typed",
        "feature_cache/py.typed",
        "feature_cache/FORMAT.md",
        "clip_adapter/encoders/glyphs/open_clip_config.json",
        "clip_adapter/report/templates/report.md.jinja",
    ],
)
def test_the_wheel_holds_the_files_that_are_no_modules(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wheel_holds_the_weights_of_the_built_in_encoder(wheel: zipfile.ZipFile) -> None:
    glyphs = [name for name in wheel.namelist() if name.startswith("clip_adapter/encoders/glyphs/")]
    assert [name for name in glyphs if name.endswith(".safetensors")], glyphs


def test_the_wheel_holds_every_module_of_the_libraries(
    wheel: zipfile.ZipFile, checkout: Path
) -> None:
    modules = {
        path.relative_to(checkout).as_posix()
        for package in ("clip_adapter", "feature_cache")
        for path in (checkout / package).rglob("*.py")
    }
    assert modules - set(wheel.namelist()) == set()


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "clip-adapter = clip_adapter.cli:main" in wheel.read(entry_points).decode()


def test_a_plain_install_needs_no_orchestration(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    requirements = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist")
    plain = [line for line in requirements or [] if "extra ==" not in line]
    assert [line for line in plain if line.startswith(("prefect", "fastapi", "sqlalchemy"))] == []
