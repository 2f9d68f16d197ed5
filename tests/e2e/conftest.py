"""A server and a worker of a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import Prefect


@pytest.fixture
def prefect(tmp_path: Path, root: Path) -> Iterator[Prefect]:
    """Nothing runs yet; whatever is started ends with the test."""
    it = Prefect(tmp_path / "prefect", root)
    try:
        yield it
    finally:
        it.close()
    assert it.processes() == []


@pytest.fixture(scope="module")
def make_prefect() -> Iterator[Callable[[Path, Path], Prefect]]:
    """The same for several, each with a folder and a store of its own; they end with the module."""
    made: list[Prefect] = []

    def make(folder: Path, root: Path) -> Prefect:
        made.append(Prefect(folder, root))
        return made[-1]

    yield make
    for it in made:
        it.close()
    assert [it.processes() for it in made] == [[] for _ in made]
