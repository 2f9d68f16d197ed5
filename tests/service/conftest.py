"""A Prefect server of a test's own that only answers about flow runs."""

from collections.abc import Iterator

import pytest
from prefect_in_name import PrefectInName


@pytest.fixture
def prefect_in_name() -> Iterator[PrefectInName]:
    """A server that answers about the flow runs it is given."""
    with PrefectInName().serving() as server:
        yield server
