"""A tokenizer is told by what it does to words, not by where it lies."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
from open_clip.tokenizer import HFTokenizer, default_bpe

from clip_adapter.encoders import EncoderError, load_encoder
from clip_adapter.encoders.fingerprint import digest_tokenizer


class Backend:
    """The half of a fast tokenizer that is written in Rust; remembers how it was last called."""

    def __init__(self, merges: list[str]) -> None:
        self.state: dict[str, Any] = {"model": {"merges": merges}, "truncation": None}

    def to_str(self) -> str:
        return json.dumps(self.state)


class Transformers:
    """What is read off a tokenizer of transformers."""

    def __init__(self, **changes: Any) -> None:
        self.vocabulary = {"a": 0, "b": 1}
        self.special_tokens_map = {"pad_token": "[PAD]"}
        self.padding_side = "right"
        self.backend_tokenizer = Backend(["a b"])
        vars(self).update(changes)

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary


def wrapped(inner: Any = None, **changes: Any) -> HFTokenizer:
    tokenizer = HFTokenizer.__new__(HFTokenizer)
    settings = {"tokenizer_mode": "", "strip_sep_token": False, "context_length": 77}
    vars(tokenizer).update(
        settings, clean_fn=str.strip, tokenizer=inner or Transformers(), **changes
    )
    return tokenizer


def test_open_clips_own_is_always_the_same(tmp_path: Path) -> None:
    moved = tmp_path / "vocabulary.gz"
    moved.write_bytes(Path(default_bpe()).read_bytes())
    used = open_clip.SimpleTokenizer(bpe_path=str(moved))
    used("some words leave their traces in its memory")
    assert digest_tokenizer(used) == digest_tokenizer(open_clip.SimpleTokenizer())


def test_whatever_changes_tokens_changes_the_digest_of_open_clips_own() -> None:
    fewer = open_clip.SimpleTokenizer()
    fewer.bpe_ranks = dict(list(fewer.bpe_ranks.items())[:-1])
    other_numbers = open_clip.SimpleTokenizer()
    other_numbers.encoder = {word: -number for word, number in other_numbers.encoder.items()}
    variants = [
        open_clip.SimpleTokenizer(),
        open_clip.SimpleTokenizer(context_length=32),
        open_clip.SimpleTokenizer(clean="canonicalize"),
        open_clip.SimpleTokenizer(reduction_mask="simple"),
        open_clip.SimpleTokenizer(reduction_mask="random"),
        open_clip.SimpleTokenizer(reduction_mask="shuffle"),
        open_clip.SimpleTokenizer(additional_special_tokens=["<extra>"]),
        fewer,
        other_numbers,
    ]
    assert len({digest_tokenizer(each) for each in variants}) == len(variants)


def test_whatever_changes_tokens_changes_the_digest_of_a_wrapped_one() -> None:
    variants = [
        wrapped(),
        wrapped(context_length=64),
        wrapped(tokenizer_mode="clips"),
        wrapped(strip_sep_token=True),
        wrapped(Transformers(vocabulary={"a": 1, "b": 0})),
        wrapped(Transformers(special_tokens_map={"pad_token": "a"})),
        wrapped(Transformers(padding_side="left")),
        wrapped(Transformers(backend_tokenizer=Backend(["b a"]))),
        wrapped(Transformers(backend_tokenizer=None)),  # a slow one
        open_clip.SimpleTokenizer(),
    ]
    assert len({digest_tokenizer(each) for each in variants}) == len(variants)


def test_what_a_call_leaves_in_a_tokenizer_is_no_part_of_it() -> None:
    used = Transformers(vocabulary={"b": 1, "a": 0})
    used.backend_tokenizer.state.update(truncation={"max_length": 77}, padding={"length": 77})
    assert digest_tokenizer(wrapped(used)) == digest_tokenizer(wrapped())


def test_a_tokenizer_that_shows_no_vocabulary_is_refused() -> None:
    with pytest.raises(EncoderError, match="tokenizer object shows no vocabulary"):
        digest_tokenizer(object())


def test_an_encoder_carries_the_digest_of_its_own(tiny_model: str) -> None:
    encoder = load_encoder(tiny_model)
    assert encoder.identity.tokenizer == digest_tokenizer(encoder.tokenizer)
