"""What is known about the encoder of features from elsewhere, and what tells two of them apart."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

from feature_cache.exchange.checks import as_matrix, check_scale
from feature_cache.exchange.errors import InvalidForeignFeaturesError
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.vectors import Features

CLIP_LOGIT_SCALE = 100.0
"""Where nobody says another: what CLIP's training ended at (Radford et al. 2021, section 2.5)."""
AS_IT_IS = "{}"
"""The template of text features that came with a class name and no prompt."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassTexts:
    """Text features of c classes in t templates each, and where they come from.

    Attributes:
        templates: t prompts with one `{}`.
        features: `[c * t, d]`, raw, class by class and template by template.
        made_by: What made them, in one text; other features must have another.
        logit_scale: What multiplies the cosines.
    """

    templates: tuple[str, ...]
    features: Features
    made_by: str
    logit_scale: float

    def prompts(self, class_names: tuple[str, ...]) -> list[str]:
        """The text of each row of the features."""
        return [each.replace("{}", name) for name in class_names for each in self.templates]


def texts_of_file(foreign: LabelledFeatures) -> ClassTexts:
    """The text features that came with the image features.

    Raises:
        InvalidForeignFeaturesError: There are none.
    """
    features = foreign.text_features
    if features is None:
        raise InvalidForeignFeaturesError(
            foreign.source,
            "nothing says what their classes look like to the encoder's text tower: add "
            "text_features [c, d], or name the model that made the features with --text-model",
        )
    little = np.ascontiguousarray(features, features.dtype.newbyteorder("<"))
    names = json.dumps(foreign.class_names)
    digest = hashlib.sha256(f"{little.dtype.str}\0{names}\0".encode() + little.tobytes())
    return ClassTexts(
        templates=(AS_IT_IS,),
        features=features,
        made_by=f"file:{digest.hexdigest()}",
        logit_scale=foreign.logit_scale or CLIP_LOGIT_SCALE,
    )


@dataclass(frozen=True, kw_only=True)
class ImportedEncoder:
    """All that can be known about an encoder that ran elsewhere.

    Its fingerprint is taken over `origin` too, which no encoder of ours has: so imported features
    never mix with encoded ones, and two labels never with each other.

    Attributes:
        label: What its user calls it.
        width: Of its features.
        precision: Of its features at rest, "float32" or "float16".
        text: What made its text features.
        templates: The prompts they were made of, with one `{}`.
        logit_scale: What multiplies the cosines.
    """

    label: str
    width: int
    precision: str
    text: str
    templates: tuple[str, ...]
    logit_scale: float

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits."""
        document = {"origin": "imported", **asdict(self)}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def fields(self) -> dict[str, str]:
        """The same as text, for the store's description."""
        return {
            "origin": "imported",
            "label": self.label,
            "model": self.label,
            "width": str(self.width),
            "precision": self.precision,
            "text": self.text,
            "templates": json.dumps(self.templates),
            "logit_scale": repr(self.logit_scale),
        }

    @classmethod
    def of(cls, foreign: LabelledFeatures, texts: ClassTexts, *, label: str) -> "ImportedEncoder":
        """The encoder of these features; at rest they have the wider of the two precisions.

        Raises:
            InvalidForeignFeaturesError: The texts are not as wide as the features, not one a
                class and template, or zero; or the label cannot be printed.
        """
        _check_texts(foreign, texts)
        if not label.strip() or not label.isprintable():
            raise InvalidForeignFeaturesError(
                foreign.source, "their label is empty or cannot be printed: give another"
            )
        return cls(
            label=label,
            width=foreign.dim,
            precision=np.result_type(foreign.features, texts.features).name,
            text=texts.made_by,
            templates=texts.templates,
            logit_scale=texts.logit_scale,
        )


def _check_texts(foreign: LabelledFeatures, texts: ClassTexts) -> None:
    check_scale(texts.logit_scale, foreign.source)
    features = as_matrix(texts.features, "text features", foreign.source)
    expected = (len(foreign.class_names) * len(texts.templates), foreign.dim)
    if features.shape != expected:
        raise InvalidForeignFeaturesError(
            foreign.source,
            f"the text features have shape {list(features.shape)}, expected {list(expected)}: take "
            "the text tower of the very model that made the features",
        )
    if not features.any(axis=1).all():
        raise InvalidForeignFeaturesError(
            foreign.source, "a row of the text features is zero and points nowhere: correct it"
        )
