"""Which proxies of the environment can be used, and what is said of the others."""

import pytest

from clip_adapter import proxies as proxies_module
from clip_adapter.proxies import explain_proxies, unusable_proxies


@pytest.mark.parametrize(("installed", "unusable"), [("", ["ALL_PROXY"]), ("socksio", [])])
def test_a_socks_proxy_can_be_used_with_the_package_socksio_only(
    installed: str, unusable: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies_module, "find_spec", lambda name: name == installed or None)
    proxies = {
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "http_proxy": "proxy:3128",
        "PROXY": "socks4://",
    }
    assert [*unusable_proxies(proxies)] == unusable


def test_a_proxy_that_cannot_be_used_is_named_without_its_password() -> None:
    message = explain_proxies(unusable_proxies({"all_proxy": "socks4://me:secret@there:1080"}))
    assert "all_proxy=socks4://there:1080 cannot be used" in message
    assert "secret" not in message
