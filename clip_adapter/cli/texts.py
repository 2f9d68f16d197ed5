"""Text features of classes, for image features that came without them.

Importing this takes seconds (torch): the command that needs it imports it when it runs.
"""

from collections.abc import Callable, Sequence

import numpy as np

from clip_adapter.encoders import load_encoder
from clip_adapter.errors import ClipAdapterError
from feature_cache.exchange import ClassTexts

__all__ = ["TextWidthError", "encode_texts"]

_PROMPTS_AT_ONCE = 64


class TextWidthError(ClipAdapterError, ValueError):
    """A text tower whose features are not as wide as the image features."""


def encode_texts(
    model: str,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    width: int,
    advance: Callable[[float], None],
) -> ClassTexts:
    """Encode every class in every template with a model's text tower; its logit scale comes along.

    Args:
        model: As `load_encoder` takes it.
        class_names: One prompt each and template.
        templates: With one `{}`.
        width: Of the image features.
        advance: Called with the number of prompts just encoded.

    Raises:
        TextWidthError: The tower's features have another width.
        EncoderError: The model cannot be loaded, or a prompt is too long for it.
    """
    encoder = load_encoder(model)
    prompts = [each.replace("{}", name) for name in class_names for each in templates]
    parts = []
    for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
        part = encoder.encode_prompts(prompts[start : start + _PROMPTS_AT_ONCE])
        if part.shape[1] != width:
            raise TextWidthError(
                f"text features of {model!r} are {part.shape[1]} wide, the image features {width}: "
                "--text-model must be the very model that made the image features"
            )
        parts.append(part)
        advance(len(part))
    return ClassTexts(
        templates=tuple(templates),
        features=np.concatenate(parts),
        made_by=f"model:{encoder.fingerprint}",
        logit_scale=encoder.logit_scale,
    )
