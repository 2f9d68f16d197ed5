"""This machine's own server, where a proxy leads to all others."""

from collections.abc import Mapping

HOST = "127.0.0.1"


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set so that `HOST` is spoken to directly, and others as before.

    Clients read either spelling, the small one first.
    """
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = excepted.split(",") if excepted else []
    value = ",".join(hosts if HOST in hosts else [*hosts, HOST])
    return {"NO_PROXY": value, "no_proxy": value}
