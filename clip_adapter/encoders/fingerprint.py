"""What an encoder is, so that its features are reused exactly when they would come out again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

__all__ = ["FORMAT_VERSION", "EncoderIdentity", "digest_weights"]

FORMAT_VERSION = 1
"""Raised when this package changes how it turns an image into a feature."""


@dataclass(frozen=True, kw_only=True)
class EncoderIdentity:
    """Everything that changes a bit of a feature, and nothing else.

    Where the weights were found, what they are called and on which machine they run is not
    part of it.

    Attributes:
        model_config: open_clip's model configuration, as canonical JSON.
        weights_sha256: of the weights that were loaded.
        preprocessing: resize mode, size, interpolation, mean, std, as canonical JSON.
        precision: of the arithmetic.
        format_version: of this package's encoding.
    """

    model_config: str
    weights_sha256: str
    preprocessing: str
    precision: str
    format_version: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, the same wherever and whenever the fields are the same."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def fields(self) -> dict[str, str]:
        """The fields by name, for people to compare."""
        return {name: str(value) for name, value in asdict(self).items()}


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Sha256 over names, types, shapes and bytes of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
