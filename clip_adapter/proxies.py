"""Proxies of the environment: which one a host is asked through, and which no client can use."""

import os
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
HIDDEN_PREFIX = "UNUSED_"
"""Prefix of a proxy's variable while it is hidden from clients that speak to this machine alone."""


def proxy_of(url: str) -> str:
    """The proxy through which httpx, the hub's client, asks this host; empty if there is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.netloc):
        return ""
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def unusable_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name a proxy with which httpx cannot even be started, and their values.

    httpx and its fork httpx2 are the clients of Prefect and of the Hugging Face hub. They refuse a
    SOCKS proxy without the package socksio, and other schemes altogether, for any host.
    """
    usable = {"http", "https", *(("socks5", "socks5h") if find_spec("socksio") else ())}
    return {
        name: value
        for name, value in environment.items()
        if name.lower() in PROXY_VARIABLES
        and "://" in value
        and value.partition("://")[0].lower() not in usable
    }


def explain_proxies(unusable: Mapping[str, str]) -> str:
    """What is wrong with these proxies and what to do, without the passwords in their addresses."""
    named = ", ".join(
        f"{name}={value.partition('://')[0]}://{value.rpartition('@')[2].rpartition('://')[2]}"
        for name, value in unusable.items()
    )
    return (
        f"the proxy {named} cannot be used here: for socks5:// and socks5h:// `pip install socksio`, "
        "else take an http:// proxy or unset the variable"
    )


def proxies_without_client() -> dict[str, str]:
    """Proxies that no client can use, also those that were hidden from Prefect."""
    return unusable_proxies(
        {name.removeprefix(HIDDEN_PREFIX): value for name, value in os.environ.items()}
    )
