"""What a tokenizer is, read off the one that was really loaded."""

import hashlib
import json
from typing import Any

import open_clip

from clip_adapter.encoders.errors import EncoderError
from clip_adapter.encoders.fingerprint import canonical_json

# Of the wrappers in open_clip.tokenizer: what they do to a prompt before and after.
_SETTINGS = ("context_length", "tokenizer_mode", "strip_sep_token", "vocab_size", "all_special_ids")


def digest_tokenizer(tokenizer: Any) -> str:
    """Sha256 over type, settings, vocabulary and merges; not over where they lie.

    Args:
        tokenizer: open_clip's own, or one of its wrappers of a Hugging Face tokenizer.

    Raises:
        EncoderError: for another kind, whose vocabulary cannot be read.
    """
    described = {
        "type": type(tokenizer).__name__,
        **{name: getattr(tokenizer, name, None) for name in _SETTINGS},
        **{name: _name_of(getattr(tokenizer, name, None)) for name in ("clean_fn", "reduction_fn")},
        "words": _words_of(tokenizer),
    }
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def _name_of(function: Any) -> str:
    """A partial application has no name, but tells what it applies to what."""
    if function is None:
        return ""
    inner = getattr(function, "func", function)
    return f"{inner.__name__} {getattr(function, 'keywords', {})}"


def _words_of(tokenizer: Any) -> Any:
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
        return {"vocabulary": tokenizer.encoder, "merges": merges, "pattern": tokenizer.pat.pattern}
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not hasattr(inner, "get_vocab"):
        raise EncoderError(
            f"the tokenizer {type(tokenizer).__name__} shows no vocabulary, so its features could "
            "not be told from another's; expected one of open_clip or transformers"
        )
    return {
        "type": type(inner).__name__,
        "vocabulary": inner.get_vocab(),
        "special": {name: str(token) for name, token in inner.special_tokens_map.items()},
        "padding_side": inner.padding_side,
        "pipeline": _pipeline_of(inner),
    }


def _pipeline_of(inner: Any) -> dict[str, Any]:
    """Normaliser, merges and so on of a fast tokenizer, but not what its last call left in it."""
    backend = getattr(inner, "backend_tokenizer", None)
    pipeline: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    return {name: part for name, part in pipeline.items() if name not in {"padding", "truncation"}}
