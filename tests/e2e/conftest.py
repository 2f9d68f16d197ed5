"""A server and a worker of a test's own."""

from collections.abc import Iterator
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
