"""Servers and workers of a module's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import Prefect


@pytest.fixture(scope="module")
def make_prefect(prefect_database: Path) -> Iterator[Callable[[Path, Path], Prefect]]:
    """Servers, each with a folder and a store of its own; nothing runs yet.

    Whatever is started ends with the module.
    """
    made: list[Prefect] = []

    def make(folder: Path, root: Path) -> Prefect:
        made.append(Prefect(folder, root, prefect_database))
        return made[-1]

    yield make
    for it in made:
        it.close()
    assert [it.processes() for it in made] == [[] for _ in made]
