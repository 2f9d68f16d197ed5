"""Tokenization of prompts that refuses to cut one."""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from jaxtyping import Int
from torch import Tensor

from clip_adapter.errors import EncoderError


def tokenize_whole(
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    context_length: int,
    vocabulary_size: int,
    model: str,
) -> Int[Tensor, "n context"]:
    """The tokens of each prompt.

    Args:
        tokenizer: open_clip's own, or one it wraps.
        prompts: the whole prompts.
        context_length: number of tokens the tower reads, start and end included.
        vocabulary_size: number of tokens that the tower has an embedding of.
        model: name of the model, for the error.

    Raises:
        EncoderError: a prompt has too many tokens, the tokenizer knows tokens that the tower does
            not; the message names the first such prompt.
    """
    for prompt, cut in zip(prompts, _are_cut(tokenizer, prompts, context_length), strict=True):
        if cut:
            message = (
                f"the prompt {prompt!r} has more than the {context_length} tokens that "
                f"{model} reads: shorten the class name or the template"
            )
            raise EncoderError(message)
    tokens: Tensor = tokenizer(list(prompts), context_length=context_length)
    for prompt, row in zip(prompts, tokens, strict=True):
        if int(row.max()) >= vocabulary_size:
            message = (
                f"the prompt {prompt!r} has token {int(row.max())}, and the text tower of {model} has "
                f"{vocabulary_size}: its weights belong to another tokenizer than "
                f"{type(tokenizer).__name__}"
            )
            raise EncoderError(message)
    return tokens


def _are_cut(tokenizer: Any, prompts: Sequence[str], context_length: int) -> list[bool]:
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        # Start and end take two places. Counted before a mask drops words, as CLIPA's would.
        return [len(tokenizer.encode(prompt)) + 2 > context_length for prompt in prompts]
    # Given one place more than the tower has, only a prompt that would be cut fills it.
    asked = ["", *prompts]
    fitting = _n_filled(tokenizer(asked, context_length=context_length))
    roomy = _n_filled(tokenizer(asked, context_length=context_length + 1))
    cut: list[bool] = (roomy > fitting)[1:].tolist()
    return cut


def _n_filled(tokens: Int[Tensor, "n context"]) -> Int[Tensor, " n"]:
    """Number of tokens of each row that are not padding, the commonest token of the empty prompt."""
    padding = torch.mode(tokens[0]).values
    return (tokens != padding).sum(dim=1)
