"""Fresh environments: the wheel and what it requires, and nothing else of this machine's packages."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Environment", "link_distribution", "make_environment"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel in it.

    Attributes:
        folder: the environment.
        home: the home folder of whoever runs commands in it; empty at first.
    """

    folder: Path
    home: Path

    def command(
        self, *arguments: object, cwd: Path, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run `clip-adapter`, which must end with this code and without a traceback."""
        return self._run("clip-adapter", *arguments, cwd=cwd, code=code)

    def python(self, script: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a script, which must succeed."""
        return self._run("python", "-c", script, cwd=cwd)

    def _run(
        self, program: str, *arguments: object, cwd: Path, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.folder / "bin" / program), *map(str, arguments)],
            cwd=cwd,
            env={
                "PATH": os.defpath,
                "HOME": str(self.home),
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        said = f"{program} {arguments}:\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, said
        assert "Traceback" not in done.stderr, said
        return done


def make_environment(wheel: Path, folder: Path) -> Environment:
    """Install a wheel without a network: what it requires is linked from this environment."""
    place, home = folder / "environment", folder / "home"
    home.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    (installed,) = Distribution.discover(name="clip-adapter", path=[str(packages)])
    for each in _required(installed):
        link_distribution(distribution(each), packages)
    return Environment(place, home)


def _required(installed: Distribution) -> set[str]:
    """The distributions that a plain install brings, by their names."""
    todo = [(line, frozenset[str]()) for line in installed.requires or []]
    found: set[tuple[str, frozenset[str]]] = set()
    while todo:
        line, extras = todo.pop()
        wanted = Requirement(line)
        # Outside of every extra the marker `extra == "..."` is false.
        if wanted.marker and not any(
            wanted.marker.evaluate({"extra": extra}) for extra in extras | {""}
        ):
            continue
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key not in found:
            found.add(key)
            todo += [(each, key[1]) for each in distribution(key[0]).requires or []]
    return {name for name, _ in found}


def link_distribution(required: Distribution, packages: Path) -> None:
    """Link the modules and the metadata of a distribution; its commands are left out."""
    tops = {file.parts[0] for file in required.files or [] if file.suffix != ".pth"}
    for top in tops - {"..", "__pycache__"}:
        here, there = Path(sysconfig.get_path("purelib")) / top, packages / top
        if here.exists() and not there.exists():
            there.symlink_to(here)
