"""The sources of the project, as the tests of its shape see them."""

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("clip_adapter", "feature_cache", "tasks", "flows", "service")


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """The text of every module of the packages, by its path in the checkout."""
    return _python_files(*PACKAGES)


@pytest.fixture(scope="session")
def all_sources(sources: dict[str, str]) -> dict[str, str]:
    """The text of every Python file of the project, tests, benchmarks and examples too."""
    return sources | _python_files("tests", "examples", "benchmarks")


def _python_files(*folders: str) -> dict[str, str]:
    return {
        path.relative_to(CHECKOUT).as_posix(): path.read_text()
        for folder in folders
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
    }
