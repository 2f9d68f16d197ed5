"""A proxy leads to others, never to this machine's own server."""

import pytest

from service.loopback import without_proxy


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "127.0.0.1"),
        ({"NO_PROXY": "intranet"}, "intranet,127.0.0.1"),
        ({"NO_PROXY": "unread", "no_proxy": "a,b"}, "a,b,127.0.0.1"),
        ({"NO_PROXY": "127.0.0.1,a"}, "127.0.0.1,a"),
    ],
)
def test_exceptions_from_the_proxy_grow_by_this_machine(
    environment: dict[str, str], expected: str
) -> None:
    assert without_proxy(environment) == {"NO_PROXY": expected, "no_proxy": expected}
