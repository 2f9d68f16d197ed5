"""What an encoder is, so that its features are reused exactly when they would come out again."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT_VERSION = 1
"""Raised when this package changes how it turns an image into a feature."""


@dataclass(frozen=True, kw_only=True)
class FieldDifference:
    """One reason why features are not reused.

    Attributes:
        field: its name; inside a configuration with dots, as `preprocessing.resize_mode`.
        ours: the value here; None if there is no such field.
        theirs: the other value; None if there is no such field.
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
        weights_sha256: of the weights that were loaded.
        preprocessing: resize mode, size, interpolation, mean, std, as canonical JSON.
        tokenizer: digest of type, vocabulary and merges of the tokenizer that was loaded.
        precision: of the arithmetic.
        format_version: of this package's encoding.
    """

    model_config: str
    weights_sha256: str
    preprocessing: str
    tokenizer: str
    precision: str
    format_version: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, the same wherever and whenever the fields are the same."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def fields(self) -> dict[str, str]:
        """The fields by name, for people to compare."""
        return {name: str(value) for name, value in asdict(self).items()}

    def differences(self, other_fields: Mapping[str, str]) -> list[FieldDifference]:
        """What tells another encoder from this one, field by field; empty if nothing does.

        Args:
            other_fields: what `fields` of the other encoder gave; a field that only one of the
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
    """Raised for the short formats when weights came to be rounded beforehand."""
    return FORMAT_VERSION + (precision != "fp32")


def _compare(name: str, ours: str | None, theirs: str | None) -> list[FieldDifference]:
    if ours == theirs:
        return []
    here, there = _leaves(name, ours), _leaves(name, theirs)
    return [
        FieldDifference(field=leaf, ours=here.get(leaf), theirs=there.get(leaf))
        for leaf in sorted(here.keys() | there.keys())
        if here.get(leaf) != there.get(leaf)
    ] or [FieldDifference(field=name, ours=ours, theirs=theirs)]  # told apart by type or spaces


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
