"""Classifiers as safetensors files: arrays as tensors, everything else as one line of JSON."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clip_adapter.errors import DataError
from clip_adapter.methods.classifier_metadata import ClassifierMetadata, is_unicode
from clip_adapter.methods.conformal import CalibratedOn, Calibration
from clip_adapter.methods.extended_classifier import (
    LONGEST_NAME,
    ExtendedClassifier,
    check_new_classes,
    extend_classifier,
    fitted_part,
)
from clip_adapter.methods.method import Classifier

FORMAT, CALIBRATED_FORMAT = 1, 2
"""Formats of a file: without and with what prediction sets take, which earlier versions cannot read."""
CALIBRATION = "calibration."
"""Prefix of the names of the arrays that prediction sets take."""
MOST_HEADER_BYTES = 32 * 2**20
"""Largest header of a file: the names and prompts of 100,000 classes."""
SCALED_COSINES = ("PrototypeClassifier", "AdapterClassifier")
"""Classifiers whose logits are `logit_scale` times a cosine with the text of the class."""
BLEND = "BlendedClassifier"
"""The kind that is made of other classifiers."""
LARGEST_COSINE = 1 + 1e-3
"""A cosine, with room for rounding."""
MOST_PARTS = 100
"""Largest number of parts of a blend that is read."""
KEY = "clip-adapter.classifier"
"""The one entry of the file's metadata: safetensors shuffles several."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedClassifier:
    """A classifier with the method and the encoder that it comes from.

    Attributes:
        classifier: the fitted classifier.
        method: name of the method that made it.
        settings: hyper-parameters as finally used, by name.
        encoder: fingerprint of the encoder whose features it classifies; empty when unknown.
        logit_bias: constant that the encoder, a sigmoid model such as SigLIP, adds to every logit;
            None where it has none. It is no part of the logits, whose order it does not change.
        metadata: encoder, prompts, data and scores; None in files of earlier versions, and where it
            is not known.
        calibration: scores of labelled images, for prediction sets; None in files of earlier versions, and
            where there were neither validation images nor held-out shots.
    """

    classifier: Classifier
    method: str
    settings: Mapping[str, float | int | str | bool]
    encoder: str = ""
    logit_bias: float | None = None
    metadata: ClassifierMetadata | None = None
    calibration: Calibration | None = None

    def probabilities(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Softmax of the logits, divided by the temperature where the file has one.

        The temperature was fitted on validation images or held-out shots (Guo et al. 2017,
        https://arxiv.org/abs/1706.04599): the highest probability is then a calibrated confidence.

        Args:
            features: raw features of the encoder, one row an image.

        Raises:
            DataError: the features have another width.
        """
        from scipy.special import softmax

        temperature = (self.metadata and self.metadata.temperature) or 1.0
        scaled = self.classifier.logits(features).astype(np.float64) / temperature
        if not np.isfinite(scaled).all():
            broken = int((~np.isfinite(scaled).all(axis=1)).sum())
            raise DataError(
                f"{broken} of {len(scaled)} features have a logit that is NaN or infinite: the "
                "classifier or the features are broken"
            )
        found: Float[np.ndarray, "n c"] = softmax(scaled, axis=1).astype(np.float32)
        return found

    def prediction_sets(
        self, features: Float[np.ndarray, "n d"], *, coverage: float = 0.9
    ) -> Bool[np.ndarray, "n c"]:
        """Mark classes of which one is the true one with a stated probability, by split conformal prediction.

        `Calibration` has the formula, and `docs/predict.md` says what the probability presupposes. An image
        without any class is "none of these".

        Args:
            features: raw features of the encoder, one row an image.
            coverage: probability that the set has the true class, above 0 and below 1.

        Raises:
            ParameterError: the coverage is out of range.
            DataError: the classifier has no calibration, or too few images for the coverage; or the features
                have another width.
        """
        calibration = self.require_calibration()
        return calibration.sets(self.probabilities(features), features, coverage=coverage)

    def require_calibration(self) -> Calibration:
        """The calibration for prediction sets.

        Raises:
            DataError: there is none; the message says why and what to do.
        """
        if self.calibration is not None:
            return self.calibration
        if isinstance(self.classifier, ExtendedClassifier):
            raise DataError(
                "the classifier has classes that were added by name, of which no image calibrates prediction "
                "sets: take the sets without them"
            )
        raise DataError(
            "the classifier has no calibration for prediction sets: its file is of an earlier version, it was "
            "corrected, or its training had neither validation images nor held-out shots. Train with two "
            "shots a class or more and promote again, or name the run (run:ID), which is fitted anew"
        )

    def sigmoid_probabilities(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Probability of each class by itself, `sigmoid(logits + logit_bias)`; rows need not add to 1.

        A zero-shot classifier gives those that the encoder was trained for (Zhai et al. 2023,
        https://arxiv.org/abs/2303.15343, section 3.2). Methods that learn train the softmax over the
        classes, which no constant on every logit changes: their values need not be calibrated.

        Args:
            features: raw features of the encoder, one row an image.

        Raises:
            DataError: the encoder has no `logit_bias`, the classifier's logits are no scaled cosines, or
                the features have another width.
        """
        kind = type(fitted_part(self.classifier)).__name__
        if self.logit_bias is None or kind not in SCALED_COSINES:
            found = "no bias" if self.logit_bias is None else f"logits of a {kind}"
            raise DataError(
                f"{self.method} has {found}: expected a logit_bias, as SigLIP has one, and logits that "
                f"are scaled cosines ({', '.join(SCALED_COSINES)}); take the softmax of the logits"
            )
        logits = self.classifier.logits(features).astype(np.float64) + self.logit_bias
        # Without overflow for any logit.
        return np.exp(-np.logaddexp(0, -logits)).astype(np.float32)

    def with_classes(
        self, class_names: Sequence[str], prototypes: Float[np.ndarray, "c d"]
    ) -> "SavedClassifier":
        """The classifier with further classes, which are known by their text alone.

        Logits of the present classes stay, bit for bit; `extend_classifier` has the formula of the new
        ones, and what was learned that they have no part in. The temperature stays: it was fitted on
        images of the present classes, so that with new ones a confidence is less well calibrated. Scores of the
        metadata and the calibration are left out, which were measured without the new classes. The result
        cannot be saved.

        Args:
            class_names: names of the classes to add.
            prototypes: text feature of each class, `class_prototypes` of the features of
                `prompts_of_new`.

        Raises:
            DataError: the method has no class prototypes, as linear-probe; a name is empty, too long,
                given twice or there already; or the prototypes do not fit.
        """
        extended = extend_classifier(self.classifier, class_names, prototypes, method=self.method)
        described = self.metadata
        if described is not None:
            own = described.class_prompts and (*described.class_prompts, *[()] * len(class_names))
            described = described.model_copy(update={"class_prompts": own, "scores": ()})
        return replace(self, classifier=extended, metadata=described, calibration=None)

    def prompts_of_new(self, class_names: Sequence[str]) -> list[list[str]]:
        """The prompts of classes to add: the templates that the classifier was trained with.

        Args:
            class_names: names of the classes to add.

        Raises:
            DataError: the classifier cannot have classes of these names, or its file has no templates.
        """
        check_new_classes(self.classifier, class_names, method=self.method)
        templates = self.metadata.templates if self.metadata else ()
        if self.settings.get("prompts") == "single":
            templates = templates[:1]
        if not templates:
            raise DataError(
                "the classifier's file names no prompts, as files of earlier versions do not, so that "
                "no class can be added by name: train and promote again"
            )
        return [[template.replace("{}", name) for template in templates] for name in class_names]

    @property
    def encoder_name(self) -> str:
        """Name and first digits of the fingerprint of the encoder; "unknown" where it is unknown."""
        model = f"{self.metadata.encoder.model} " if self.metadata else ""
        return f"{model}{self.encoder[:12]}" or "unknown"

    def check_encoder(self, encoder: str, *, model: str = "") -> None:
        """Return if the classifier was fitted to features of that encoder.

        Args:
            encoder: fingerprint of the encoder.
            model: name of the encoder, for the message.

        Raises:
            DataError: it was fitted to features of another encoder; the message names both.
        """
        if self.encoder and encoder != self.encoder:
            message = (
                f"the classifier was fitted to features of encoder {self.encoder_name}, not of "
                f"{f'{model} {encoder[:12]}'.strip()}: encode the images with its own, or fit it again"
            )
            raise DataError(message)


def save_classifier(saved: SavedClassifier, path: Path) -> None:
    """Write a classifier; equal classifiers give equal bytes, and the file is whole or absent.

    Raises:
        OSError: the file cannot be written.
    """
    content = encode_classifier(saved)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_classifier(path: Path) -> SavedClassifier:
    """Read a file of `save_classifier`. Nothing is unpickled.

    Raises:
        DataError: the file holds no classifier that can be read, see `decode_classifier`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        _check_header_size(start, source=str(path), n_bytes=path.stat().st_size)
        return decode_classifier(start + file.read(), source=str(path))


def encode_classifier(saved: SavedClassifier) -> bytes:
    """Encode a classifier as a safetensors file; equal classifiers give equal bytes.

    Raises:
        DataError: the classifier is of a kind that `decode_classifier` does not know, or has classes
            that were added by name.
    """
    classifier: Any = saved.classifier
    if isinstance(classifier, ExtendedClassifier):
        added = sum(len(part.class_names) for part in classifier.parts[1:])
        raise DataError(
            f"a classifier with {added} classes that were added by name cannot be saved: save it "
            "without them, and add them when it is loaded"
        )
    described, arrays = _describe(classifier, method=saved.method)
    metadata = {
        "format": CALIBRATED_FORMAT if saved.calibration else FORMAT,
        **described,
        "method": saved.method,
        "settings": dict(saved.settings),
        "encoder": saved.encoder,
    }
    if saved.logit_bias is not None:  # other files stay as they were, byte for byte
        metadata["logit_bias"] = saved.logit_bias
    if saved.metadata is not None:
        metadata["metadata"] = saved.metadata.model_dump(mode="json")
    if saved.calibration is not None:
        metadata["calibration"] = saved.calibration.images
        arrays |= {f"{CALIBRATION}{name}": array for name, array in _arrays(saved.calibration)}
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    text = json.dumps(metadata, sort_keys=True, default=lambda number: number.item())  # of numpy
    content: bytes = save(ordered, metadata={KEY: text})
    return content


def _describe(classifier: Any, *, method: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Kind and plain values of a classifier, and its arrays; those of part 2 are called `2.weight`."""
    kinds, kind = _kinds(), type(classifier).__name__
    if kinds.get(kind) is not type(classifier):
        raise DataError(
            f"a {kind}, as {method} makes it, cannot be saved: "
            f"expected {', '.join(kinds)}; let the method return one of these"
        )
    values = {field.name: getattr(classifier, field.name) for field in fields(classifier)}
    arrays = dict(_arrays(classifier))
    plain = {name: value for name, value in values.items() if name not in arrays}
    if kind == BLEND:
        described = []
        for number, part in enumerate(classifier.parts):
            of_part, its_arrays = _describe(part, method=method)
            described.append(of_part)
            arrays |= {f"{number}.{name}": value for name, value in its_arrays.items()}
        plain["parts"] = described
    return {"kind": kind, "values": plain}, arrays


def _arrays(owner: Any) -> Iterator[tuple[str, np.ndarray]]:
    for field in fields(owner):
        if isinstance(value := getattr(owner, field.name), np.ndarray):
            yield field.name, value


def decode_classifier(content: bytes, *, source: str) -> SavedClassifier:
    """Decode the bytes of `encode_classifier`. Nothing is unpickled.

    Args:
        content: content of a safetensors file.
        source: name of the file in an error.

    Raises:
        DataError: it is no safetensors file, holds no classifier, one of a newer
            format, or one whose arrays do not fit together.
    """
    try:
        _check_header_size(content[:8], source=source, n_bytes=len(content))
        metadata = _metadata(content)
        tensors = load(content)
        if metadata["format"] > CALIBRATED_FORMAT:
            raise DataError(
                f"{source} is of format {metadata['format']}, this version reads {CALIBRATED_FORMAT}: "
                "upgrade"
            )
        described = metadata.get("metadata")
        own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(CALIBRATION)}
        classifier = _build(metadata, tensors)
        saved = SavedClassifier(
            classifier=classifier,
            method=_short_text(metadata["method"]),
            settings=_settings(metadata["settings"]),
            encoder=_short_text(metadata["encoder"]),
            logit_bias=_finite_or_none(metadata.get("logit_bias")),
            metadata=None if described is None else ClassifierMetadata.read(described),
            calibration=_calibration(metadata.get("calibration"), own, classifier),
        )
        _check_consistent(saved)
    except (
        SafetensorError,
        KeyError,
        TypeError,
        ArithmeticError,
        ValueError,
        RecursionError,
    ) as error:
        reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        if reason.startswith(source):
            raise
        message = (
            f"{source} holds no classifier that can be read ({reason:.500}): fit and save it again"
        )
        raise DataError(message) from error
    return saved


def _check_header_size(start: bytes, *, source: str, n_bytes: int) -> None:
    """Refuse a file whose header is larger than it may be, before it is parsed."""
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= n_bytes - 8:
        raise DataError(
            f"{source} holds no classifier that can be read (it is no safetensors file): "
            "expected one that `clip-adapter champion DATASET --to FILE` wrote"
        )
    if length > MOST_HEADER_BYTES:
        raise DataError(
            f"{source} has a header of {length:,} bytes, more than the limit of "
            f"{MOST_HEADER_BYTES:,}: fit and save the classifier again"
        )


def _check_consistent(saved: SavedClassifier) -> None:
    names = saved.classifier.class_names
    if wrong := [name for name in names if not _is_text(name)]:
        raise DataError(
            f"{wrong[0]!r:.80} is no class name: expected 1 to {LONGEST_NAME:,} characters of Unicode"
        )
    if len(set(names)) < len(names):
        raise DataError("two of its classes have the same name")
    described = saved.metadata
    if described is None:
        return
    if described.encoder.fingerprint != saved.encoder:
        raise DataError(
            f"it names two encoders, {saved.encoder[:12]} and {described.encoder.fingerprint[:12]}"
        )
    if described.class_prompts and len(described.class_prompts) != len(names):
        raise DataError(
            f"it has prompts for {len(described.class_prompts)} of {len(names)} classes"
        )


def _is_text(value: Any) -> bool:
    """Whether it is a text that is neither empty nor too long, without half of a surrogate pair."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME:
        return False
    return is_unicode(value)


def _short_text(value: Any) -> str:
    if value != "" and not _is_text(value):
        raise DataError(f"{value!r:.80} is no text of at most {LONGEST_NAME:,} characters")
    return str(value)


def _settings(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or len(json.dumps(values, allow_nan=False)) > 50 * LONGEST_NAME:
        raise DataError(f"its settings are {values!r:.80}, expected a few values by name")
    return values


@cache
def _kinds() -> Mapping[str, type[Any]]:
    from clip_adapter.methods import classifiers as known

    kinds = (
        known.PrototypeClassifier,
        known.LinearClassifier,
        known.AdapterClassifier,
        known.CacheClassifier,
        known.WeightedCacheClassifier,
        known.KernelClassifier,
        known.BlendedClassifier,
    )
    return {kind.__name__: kind for kind in kinds}


def _metadata(content: bytes) -> dict[str, Any]:
    """The metadata of the header, which safetensors reads from paths only."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header["__metadata__"][KEY])
    if (
        not isinstance(metadata, dict)
        or not isinstance(metadata.get("format"), int)
        or metadata["format"] < 1
    ):
        raise DataError(f"its metadata {KEY!r} is no object with a format")
    return metadata


def _build(described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    """A classifier from what `_describe` says of it."""
    kind, values = _kinds()[described["kind"]], described["values"]
    if described["kind"] == BLEND:
        return _build_blend(values, tensors)
    arrays = {field.name for field in fields(kind)} - set(values)
    if arrays != set(tensors):
        message = f"it holds the arrays {sorted(tensors)}, expected {sorted(arrays)}"
        raise DataError(message)
    plain = {
        field.name: _plain(field.type, values[field.name])
        for field in fields(kind)
        if field.name in values
    }
    classifier = kind(**tensors, **plain)
    _check_shapes(classifier, tensors)
    return classifier


def _build_blend(values: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    described, weights = values["parts"], _plain(tuple[float, ...], values["weights"])
    if not isinstance(described, list) or not 1 <= len(described) <= MOST_PARTS:
        raise DataError(f"a blend has {described!r:.80} for parts: expected 1 to {MOST_PARTS}")
    if len(weights) != len(described) or not all(map(math.isfinite, weights)):
        raise DataError(
            f"a blend of {len(described)} parts has the weights {weights!r:.80}: expected a finite "
            "number for each"
        )
    of_part: list[dict[str, np.ndarray]] = [{} for _ in described]
    for name, tensor in tensors.items():
        number, _, own = name.partition(".")
        if not (number.isdecimal() and number.isascii()) or int(number) >= len(described):
            raise DataError(
                f"it holds the array {name!r:.80}, which belongs to no part of the blend"
            )
        of_part[int(number)][own] = tensor
    if BLEND in {part["kind"] for part in described}:
        raise DataError("a part of the blend is a blend itself: expected other classifiers")
    parts = tuple(map(_build, described, of_part))
    for what in ("class_names", "width"):
        if len({getattr(part, what) for part in parts}) > 1:
            raise DataError(f"the parts of the blend differ in {what}")
    return _kinds()[BLEND](parts=parts, weights=weights)


def _calibration(
    images: Any, arrays: Mapping[str, np.ndarray], classifier: Classifier
) -> Calibration | None:
    if images is None and not arrays:
        return None
    tensors = {name.removeprefix(CALIBRATION): array for name, array in arrays.items()}
    expected = {"label_probabilities", "similarities", "class_prototypes"}
    if images not in get_args(CalibratedOn) or set(tensors) != expected:
        raise DataError(
            f"its calibration is on {images!r:.80} with the arrays {sorted(tensors)!r:.200}: expected "
            f"{' or '.join(get_args(CalibratedOn))}, and {sorted(expected)}"
        )
    lengths = {"c": len(classifier.class_names), "d": classifier.width}
    for name, values in tensors.items():
        _check_array(name, values, lengths)
    if np.abs(tensors["similarities"]).max() > LARGEST_COSINE or not (
        0 <= tensors["label_probabilities"].min() <= tensors["label_probabilities"].max() <= 1
    ):
        raise DataError("its calibration has probabilities or cosines that are out of range")
    return Calibration(images=images, **tensors)


def _finite_or_none(bias: Any) -> float | None:
    if bias is None:
        return None
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not math.isfinite(bias):
        raise DataError(f"logit_bias is {bias!r}, expected a finite number")
    return bias


def _plain(annotation: Any, value: Any) -> Any:
    if value is None and type(None) in get_args(annotation):
        return None  # pydantic knows no arrays, and an optional one that is absent needs none
    try:
        return TypeAdapter(annotation).validate_python(value)
    except (
        ValidationError,
        PydanticUserError,
    ) as error:  # the second of an array in place of a number
        raise DataError(f"{value!r:.80} is no {annotation}") from error


_SHAPES = {
    "class_prototypes": "c d",
    "weight": "c d",
    "bias": "c",
    "down": "h d",
    "up": "d h",
    "ratio_query": "d",
    "keys": "k d",
    "labels": "k",
    "values": "k c",
    "image_weights": "k",
    "channels": "d",
    "label_probabilities": "m",
    "similarities": "m",
}
"""Axes of the arrays of all kinds of classifiers: of one letter, all axes are equally long."""


def _check_shapes(classifier: Any, tensors: Mapping[str, np.ndarray]) -> None:
    """Check types and shapes, and classify two features, whose logits must be finite."""
    lengths = {"c": len(classifier.class_names)}
    for name, values in tensors.items():
        _check_array(name, values, lengths)
    labels = tensors.get("labels")
    if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < lengths["c"]:
        raise DataError(f"labels run from {labels.min()} to {labels.max()}, expected class numbers")
    if getattr(classifier, "logit_scale", 1.0) <= 0:
        raise DataError(f"logit_scale is {classifier.logit_scale}, expected a number above 0")
    width = lengths["d"]
    try:
        scores = classifier.logits(np.stack([np.zeros(width), np.ones(width)]).astype(np.float32))
    except (RuntimeError, IndexError) as error:
        raise DataError(f"its arrays do not fit together: {error}") from error
    if not np.isfinite(scores).all():
        raise DataError("its logits are not finite numbers")


def _check_array(name: str, values: np.ndarray, lengths: dict[str, int]) -> None:
    """Check one array; axes that were not seen before are added to the lengths."""
    is_wrong = values.dtype != np.float32
    if name == "labels":
        is_wrong = not np.issubdtype(values.dtype, np.signedinteger)
    if is_wrong:
        expected = "signed integers" if name == "labels" else "float32"
        raise DataError(f"{name} is {values.dtype}, expected {expected}")
    axes = _SHAPES[name].split()
    found = dict(zip(axes, values.shape, strict=False))
    if values.ndim != len(axes) or any(lengths.setdefault(a, n) != n for a, n in found.items()):
        expected = ", ".join(f"{axis}={lengths.get(axis, 'any')}" for axis in axes)
        raise DataError(
            f"its arrays do not fit together: {name} is {values.shape} for {lengths['c']} class names, expected {expected}"
        )
    if 0 in values.shape and name not in {"keys", "labels", "values", "image_weights"}:
        raise DataError(f"{name} is empty: {values.shape}")
    if values.dtype == np.float32 and not np.isfinite(values).all():
        raise DataError(f"{name} holds NaN or infinity")
