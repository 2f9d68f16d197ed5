"""The flows of the checkout, run from the command line without a server of one's own."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from clip_adapter.pipeline.writable import check_writable
from clip_adapter.errors import ClipAdapterError

__all__ = ["CHECKOUT", "CheckoutError", "check_pipeline", "check_workspace", "load_flow"]

CHECKOUT = Path(__file__).parents[2]


class CheckoutError(ClipAdapterError, RuntimeError):
    """The pipeline is not where this command looks for it."""


def load_flow(name: str, *, workspace: Path) -> Any:
    """The flow of that name from `flows/`, ready to be called.

    Prefect keeps its own records below `workspace`, says nothing of its own, and starts a private
    server for the time of the call, unless PREFECT_API_URL names one.

    Raises:
        CheckoutError: if the library was installed without the checkout, or without Prefect.
    """
    path = CHECKOUT / "flows" / f"{name}.py"
    check_pipeline(path)
    _quiet_prefect(workspace)
    spec = importlib.util.spec_from_file_location(f"clip_adapter_flow_{name}", path)
    if spec is None or spec.loader is None:
        message = f"{path} is not a Python file"
        raise CheckoutError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def check_pipeline(path: Path = CHECKOUT / "prefect.yaml") -> None:
    """Fail if a file of the checkout, or Prefect, is not there.

    Raises:
        CheckoutError: It is not.
    """
    if not path.is_file() or importlib.util.find_spec("prefect") is None:
        message = (
            f"this command runs the flows of a checkout, and {path} or Prefect is not there: "
            "clone the project and install it with `pip install -e '.[pipeline]'`"
        )
        raise CheckoutError(message)


def check_workspace(root: Path) -> None:
    """Fail at once where Prefect's server would fail for minutes.

    Raises:
        CheckoutError: Prefect cannot keep its database there.
        UnwritableRootError: Nobody can write there.
    """
    if any(sign in str(root) for sign in "?#%"):
        message = f"Prefect cannot keep its database below {root}: choose a root without ?, # and %"
        raise CheckoutError(message)
    # Prefect makes its own folder, but not the ones above it.
    check_writable(root, below="prefect")


def _quiet_prefect(root: Path) -> None:
    """Settings Prefect reads when it is imported; what the user has set stays."""
    check_workspace(root)
    ours = {
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    if not os.environ.get("PREFECT_API_URL"):
        os.environ.pop("PREFECT_API_URL", None)
        # Ctrl-C ends the private server too; do not look for it for a minute.
        ours["PREFECT_CLIENT_MAX_RETRIES"] = "1"
    for name, value in ours.items():
        os.environ.setdefault(name, value)
