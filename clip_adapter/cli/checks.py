"""What can be found wrong with a request before a server has been started for it.

Importing this takes seconds (torch): the commands that need it import it when they run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from clip_adapter.encoders import (
    EncoderIdentity,
    check_available,
    load_encoder,
    parse_model_name,
)
from clip_adapter.methods import create_method
from clip_adapter.network import Probe
from clip_adapter.training import SettingsError

__all__ = ["check_methods", "check_model", "identify"]


def check_model(model: str, *, probe: Probe | None = None) -> None:
    """Raise for a model that does not exist, or whose weights cannot be had."""
    check_available(parse_model_name(model), probe=probe)


def check_methods(methods: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise for an unknown method or setting, a value out of range, a setting nobody would use."""
    for name in {*methods, *settings}:
        create_method(name, settings.get(name))
    if unused := sorted(set(settings) - set(methods)):
        raise SettingsError(
            f"settings were given for {', '.join(unused)}, which is not trained: "
            f"expected settings for {', '.join(methods)}; add it to --methods"
        )


def identify(model: str, *, precision: str, resize: str | None) -> EncoderIdentity:
    """What the encoder of that name is, weights included; raises what `load_encoder` raises."""
    return load_encoder(model, precision=precision, resize=resize).identity
