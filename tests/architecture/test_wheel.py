"""The wheel is the library; the checkout is the pipeline."""

import importlib.util
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import clip_adapter
from clip_adapter.datasets import known_names
from clip_adapter.runs import saved_questions


@pytest.fixture(scope="module", name="wheel")
def _wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


def build_wheel(project: Path, place: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place)]
    done = subprocess.run([*command, str(project)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(place.glob("*.whl")))


def text_of(wheel: zipfile.ZipFile, end: str) -> str:
    return wheel.read(next(name for name in wheel.namelist() if name.endswith(end))).decode()


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
        "clip_adapter/datasets/imagenet_class_names.csv",
        *(f"clip_adapter/datasets/known/{name}.yaml" for name in known_names()),
        "clip_adapter/encoders/glyphs/open_clip_config.json",
        "clip_adapter/exports/templates/README.md.jinja",
        "clip_adapter/report/templates/report.md.jinja",
        *(f"clip_adapter/runs/questions/{name}.sql" for name in saved_questions()),
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
    assert "clip-adapter = clip_adapter.cli:main" in text_of(wheel, "entry_points.txt")


def test_the_wheel_offers_no_command_that_needs_the_checkout(wheel: zipfile.ZipFile) -> None:
    assert "service" not in text_of(wheel, "entry_points.txt")


def test_the_service_is_metadata_alone_of_the_same_version(
    wheel: zipfile.ZipFile, checkout: Path, tmp_path: Path
) -> None:
    service = build_wheel(checkout / "service", tmp_path)
    assert {name.partition("/")[0] for name in service.namelist()} == {
        f"clip_adapter_service-{clip_adapter.__version__}.dist-info"
    }
    assert "[clip_adapter.commands]" in text_of(service, "entry_points.txt")
    library, own = (Parser().parsestr(text_of(each, "METADATA")) for each in (wheel, service))
    assert own["Version"] == library["Version"]
    assert own.get_all("Requires-Dist") == [f"clip-adapter[pipeline]=={library['Version']}"]


def test_the_folder_of_the_service_is_not_on_the_path(checkout: Path) -> None:
    """Its modules would be importable as `commands`, `control` and so on."""
    assert str(checkout / "service") not in sys.path
    assert importlib.util.find_spec("orphans") is None


def test_a_plain_install_needs_no_orchestration(wheel: zipfile.ZipFile) -> None:
    requirements = Parser().parsestr(text_of(wheel, "METADATA")).get_all("Requires-Dist")
    plain = [line for line in requirements or [] if "extra ==" not in line]
    assert [line for line in plain if line.startswith(("prefect", "fastapi", "sqlalchemy"))] == []
