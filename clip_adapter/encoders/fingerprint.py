"""The identity of an encoder: everything that changes its features, digested as a fingerprint."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from clip_adapter.errors import EncoderError

FORMAT_VERSION = 1
"""Incremented when this package changes how it turns an image into a feature."""
# Attributes of the wrappers in open_clip.tokenizer that change what they do to a prompt.
_SETTINGS = ("context_length", "tokenizer_mode", "strip_sep_token", "vocab_size", "all_special_ids")


@dataclass(frozen=True, kw_only=True)
class FieldDifference:
    """A field in which two encoders differ, so that features are not reused.

    Attributes:
        field: name of the field; in a configuration with dots, as `preprocessing.resize_mode`.
        ours: value here; None if there is no such field.
        theirs: value of the other encoder; None if there is no such field.
    """

    field: str
    ours: str | None
    theirs: str | None


@dataclass(frozen=True, kw_only=True)
class EncoderIdentity:
    """Everything that changes a bit of a feature, and nothing else.

    Where the weights were found, what they are called and on which machine they run is not
    part of it.

    Attributes:
        model_config: open_clip's model configuration, as canonical JSON.
        weights_sha256: digest of the loaded weights.
        preprocessing: resize mode, size, interpolation, mean, std, as canonical JSON.
        tokenizer: digest of type, vocabulary and merges of the loaded tokenizer.
        precision: numeric format of the forward pass.
        format_version: version of this package's way from an image to a feature.
    """

    model_config: str
    weights_sha256: str
    preprocessing: str
    tokenizer: str
    precision: str
    format_version: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, equal wherever the fields are equal."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def fields(self) -> dict[str, str]:
        """The fields by name, as text."""
        return {name: str(value) for name, value in asdict(self).items()}

    def differences(self, other_fields: Mapping[str, str]) -> list[FieldDifference]:
        """The fields in which another encoder differs from this one; empty if there are none.

        Args:
            other_fields: result of `fields` of the other encoder; a field that only one of the
                two has differs.
        """
        ours, theirs = self.fields(), dict(other_fields)
        return [
            difference
            for name in [*ours, *sorted(theirs.keys() - ours.keys())]
            for difference in _compare(name, ours.get(name), theirs.get(name))
        ]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def format_version_of(precision: str) -> int:
    """Version of the features of a precision; the short formats round weights since version 2."""
    return FORMAT_VERSION + (precision != "fp32")


def digest_weights(state: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of a state dict, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest_tokenizer(tokenizer: Any) -> str:
    """SHA-256 over type, settings, vocabulary and merges of a tokenizer, wherever its files are.

    Args:
        tokenizer: open_clip's own, or one of its wrappers of a Hugging Face tokenizer.

    Raises:
        EncoderError: the vocabulary of this kind of tokenizer cannot be read.
    """
    described = {
        "type": type(tokenizer).__name__,
        **{name: getattr(tokenizer, name, None) for name in _SETTINGS},
        **{name: _name_of(getattr(tokenizer, name, None)) for name in ("clean_fn", "reduction_fn")},
    }
    # "words" is the last of the names in their order.
    text = f'{canonical_json(described)[:-1]},"words":{_words_of(tokenizer)}}}'
    return hashlib.sha256(text.encode()).hexdigest()


def _name_of(function: Any) -> str:
    """The name of a function, with the arguments of a partial application."""
    if function is None:
        return ""
    inner = getattr(function, "func", function)
    return f"{inner.__name__} {getattr(function, 'keywords', {})}"


def _words_of(tokenizer: Any) -> str:
    import open_clip

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
        return _words_of_clip(
            tuple(tokenizer.encoder.items()), tuple(merges), tokenizer.pat.pattern
        )
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not hasattr(inner, "get_vocab"):
        raise EncoderError(
            f"the tokenizer {type(tokenizer).__name__} shows no vocabulary, so its features could "
            "not be told from another's; expected one of open_clip or transformers"
        )
    words = {
        "type": type(inner).__name__,
        "vocabulary": inner.get_vocab(),
        "special": {name: str(token) for name, token in inner.special_tokens_map.items()},
        "padding_side": inner.padding_side,
        "pipeline": _pipeline_of(inner),
    }
    return canonical_json(words)


# Nearly all models share these 49,408 words, whose text takes as long as a small model to load.
@lru_cache(maxsize=1)
def _words_of_clip(
    vocabulary: tuple[tuple[str, int], ...], merges: tuple[tuple[str, str], ...], pattern: str
) -> str:
    words = {"vocabulary": dict(vocabulary), "merges": merges, "pattern": pattern}
    return canonical_json(words)


def _pipeline_of(inner: Any) -> dict[str, Any]:
    """Normaliser, merges and so on of a fast tokenizer, without the state of its last call."""
    backend = getattr(inner, "backend_tokenizer", None)
    pipeline: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    return {name: part for name, part in pipeline.items() if name not in {"padding", "truncation"}}


def _compare(name: str, ours: str | None, theirs: str | None) -> list[FieldDifference]:
    if ours == theirs:
        return []
    here, there = _leaves(name, ours), _leaves(name, theirs)
    return [
        FieldDifference(field=leaf, ours=here.get(leaf), theirs=there.get(leaf))
        for leaf in sorted(here.keys() | there.keys())
        if here.get(leaf) != there.get(leaf)
    ] or [FieldDifference(field=name, ours=ours, theirs=theirs)]  # equal up to types or spaces


def _leaves(name: str, text: str | None) -> dict[str, str]:
    """The values of a configuration by dotted name, or the text itself if it is none."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {name: text}
    return dict(_walk(name, value)) if isinstance(value, dict) else {name: text}


def _walk(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _walk(f"{name}.{key}", inner)
    else:
        yield name, value if isinstance(value, str) else canonical_json(value)
