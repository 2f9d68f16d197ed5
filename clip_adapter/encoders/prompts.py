"""From prompts to tokens, none of them cut."""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from jaxtyping import Int
from torch import Tensor

from clip_adapter.encoders.errors import PromptTooLongError


def tokenize_whole(
    tokenizer: Any, prompts: Sequence[str], *, context_length: int, model: str
) -> Int[Tensor, "n context"]:
    """The tokens of each prompt.

    Args:
        tokenizer: open_clip's own, or one it wraps.
        prompts: as the text tower shall read them.
        context_length: tokens the tower reads, start and end included.
        model: named in the error.

    Raises:
        PromptTooLongError: naming the first prompt that would be cut.
    """
    for prompt, cut in zip(prompts, _are_cut(tokenizer, prompts, context_length), strict=True):
        if cut:
            message = (
                f"the prompt {prompt!r} has more than the {context_length} tokens that "
                f"{model} reads: shorten the class name or the template"
            )
            raise PromptTooLongError(message)
    tokens: Tensor = tokenizer(list(prompts), context_length=context_length)
    return tokens


def _are_cut(tokenizer: Any, prompts: Sequence[str], context_length: int) -> list[bool]:
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        # Start and end take two places. Told before a mask drops words, as CLIPA's would.
        return [len(tokenizer.encode(prompt)) + 2 > context_length for prompt in prompts]
    # Given one place more than the tower has, only a prompt that would be cut fills it.
    asked = ["", *prompts]
    fitting = _n_filled(tokenizer(asked, context_length=context_length))
    roomy = _n_filled(tokenizer(asked, context_length=context_length + 1))
    cut: list[bool] = (roomy > fitting)[1:].tolist()
    return cut


def _n_filled(tokens: Int[Tensor, "n context"]) -> Int[Tensor, " n"]:
    """How many tokens of each row are no padding, which an empty prompt mostly consists of."""
    padding = torch.mode(tokens[0]).values
    return (tokens != padding).sum(dim=1)
