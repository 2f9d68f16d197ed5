"""No prompt is ever cut, whatever tokenizer a model brings."""

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer

from clip_adapter.encoders import Encoder, EncoderError, load_encoder
from clip_adapter.encoders.prompts import tokenize_whole


class Encoded:
    def __init__(self, input_ids: Any) -> None:
        self.input_ids = input_ids

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class WordNumbers:
    """A tokenizer as transformers' are called: one token a word, begun with 2 and ended with 3."""

    bos_token_id, eos_token_id, pad_token_id, cls_token_id = 2, 3, 0, 4

    def __call__(self, texts: list[str], *, max_length: int = 0, **_: object) -> Encoded:
        words = [[10 + len(word) for word in text.split()] for text in texts]
        if not max_length:
            return Encoded(words)
        rows = [[2, *each[: max_length - 2], 3] for each in words]
        return Encoded(torch.tensor([row + [0] * (max_length - len(row)) for row in rows]))


def wrapped(mode: str = "") -> HFTokenizer:
    """open_clip's wrapper, which would otherwise fetch its tokenizer."""
    tokenizer = HFTokenizer.__new__(HFTokenizer)
    vars(tokenizer).update(
        tokenizer=WordNumbers(), tokenizer_mode=mode, strip_sep_token=False, clean_fn=str
    )
    return tokenizer


# A prompt of so many words just fits: start, end and in the last case a class token stand with it.
TOKENIZERS = [
    pytest.param(open_clip.SimpleTokenizer(), 2, id="open_clip"),
    pytest.param(open_clip.SimpleTokenizer(reduction_mask="syntax"), 2, id="open_clip, CLIPA's"),
    pytest.param(wrapped(), 2, id="transformers"),
    pytest.param(wrapped("clips"), 3, id="transformers, CLIPS'"),
]


@pytest.fixture(name="encoder", scope="module")
def _encoder(tiny_model: str) -> Encoder:
    return load_encoder(tiny_model)


def words(n: int, word: str = "b") -> str:
    return " ".join([word] * n)


@pytest.mark.parametrize("context_length", [16, 32, 64, 77])
@pytest.mark.parametrize(("tokenizer", "taken"), TOKENIZERS)
def test_the_first_prompt_that_would_be_cut_is_named(
    tokenizer: Any, taken: int, context_length: int
) -> None:
    too_long = words(context_length - taken + 1)
    with pytest.raises(EncoderError) as refusal:
        tokenize_whole(
            tokenizer,
            ["a river", too_long, too_long + " c"],
            context_length=context_length,
            vocabulary_size=49408,
            model="some-model",
        )
    assert str(refusal.value) == (
        f"the prompt {too_long!r} has more than the {context_length} tokens that some-model reads: "
        "shorten the class name or the template"
    )


@pytest.mark.parametrize("context_length", [16, 77])
@pytest.mark.parametrize(
    ("tokenizer", "taken"), [each for each in TOKENIZERS if "CLIPA" not in str(each.id)]
)
def test_a_prompt_that_just_fits_is_tokenized(
    tokenizer: Any, taken: int, context_length: int
) -> None:
    prompts = [words(context_length - taken), "a river", ""]
    tokens = tokenize_whole(
        tokenizer,
        prompts,
        context_length=context_length,
        vocabulary_size=49408,
        model="some-model",
    )
    assert tokens.shape == (3, context_length)


def test_a_prompt_that_just_fits_is_read_whole(encoder: Encoder) -> None:
    fitting = words(encoder.context_length - 2)
    features = encoder.encode_prompts([fitting, fitting.removesuffix(" b")])
    assert not np.array_equal(features[0], features[1])


def test_an_encoder_names_itself_and_its_own_length(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match="more than the 16 tokens that local-dir:"):
        encoder.encode_prompts([words(15)])


def test_a_token_that_the_tower_does_not_have_is_refused_with_its_prompt() -> None:
    with pytest.raises(EncoderError) as refusal:
        tokenize_whole(
            wrapped(), ["a", "a river"], context_length=8, vocabulary_size=15, model="some-model"
        )
    assert str(refusal.value) == (
        "the prompt 'a river' has token 15, and the text tower of some-model has 15: its weights "
        "belong to another tokenizer than HFTokenizer"
    )
    tokenize_whole(wrapped(), ["a river"], context_length=8, vocabulary_size=16, model="some-model")
