"""Metadata in the file of a classifier: its encoder, prompts, data and scores.

A file may come from anywhere: every text, list and number has a bound, and none is trusted.
"""

import json
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clip_adapter.errors import DataError

Name = Annotated[str, Field(min_length=1, max_length=300)]
Text = Annotated[str, Field(max_length=2_000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Count = Annotated[int, Field(ge=0, le=2**40)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Prompts = Annotated[tuple[Text, ...], Field(max_length=1_000)]
MOST_CLASSES = 100_000


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded, as it holds no half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


class _Metadata(BaseModel):
    # What a newer version adds is ignored, so that its files can be read.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, strict=True)


class EncoderMetadata(_Metadata):
    """The encoder whose features a classifier takes, and how to load it again.

    Attributes:
        model: name of the model, as `load_encoder` takes it; the label of imported features.
        fingerprint: fingerprint of the encoder.
        is_imported: whether the features were imported, so that `model` cannot be loaded.
        weights_sha256: digest of the weights.
        precision: numeric format of the forward pass.
        resize: resize mode that was requested; None for the model's own.
        preprocessing_tag: tag whose preprocessing was requested; None for the known one.
        preprocessing: size, resize mode, interpolation, mean and std, as canonical JSON.
        logit_scale: inverse temperature of the encoder.
        logit_bias: constant that a sigmoid model adds to every logit; None where it has none.
        licence: licence of the weights; None where it is not known.
    """

    model: Name
    fingerprint: Digest
    is_imported: bool = False
    weights_sha256: Digest | None = None
    precision: Name = "fp32"
    resize: Name | None = None
    preprocessing_tag: Name | None = None
    preprocessing: Text | None = None
    logit_scale: Annotated[float, Field(gt=0)]
    logit_bias: float | None = None
    licence: Name | None = None


class Score(_Metadata):
    """A metric of the classifier with its 95 % interval over images.

    Attributes:
        name: name of the metric, as "accuracy".
        split: split of the images, as "test".
        value: value of the metric, a fraction.
        low: lower end of the interval; None where there is no interval.
        high: upper end of the interval; None where there is no interval.
        n_images: number of images.
    """

    name: Name
    split: Name
    value: float
    low: float | None = None
    high: float | None = None
    n_images: Count


class ClassifierMetadata(_Metadata):
    """How a classifier came about, beside its method and settings.

    Attributes:
        encoder: the encoder whose features it takes.
        dataset: name of the dataset that it was trained on.
        index_fingerprint: fingerprint of the state of that dataset.
        run_fingerprint: fingerprint of the run that it was fitted for, as in the table `runs`.
        shots: labelled images a class; 0 for a method that uses none.
        seed: seed of the run; None for a method without randomness.
        n_train: number of training images.
        n_validation: number of validation images; 0 where held-out shots or nothing chose.
        selected_on: data that chose the hyper-parameters.
        templates: prompts with {} for the name of the class.
        class_prompts: prompts of each class in place of the templates, none for a class without
            prompts of its own; empty where no class has any.
        temperature: number by which logits are divided so that their softmax is calibrated, fitted
            on the validation images, else on held-out shots; None where there were neither.
        scores: metrics of the run, with intervals.
        trained_on: date of the run, in UTC: with the time, equal runs would make unequal files.
        version: version of this package.
        dataset_licence: licence of the images; None where it is not known.
        dataset_citation: what to cite for the images; None where it is not known.
    """

    encoder: EncoderMetadata
    dataset: Name
    index_fingerprint: Digest
    run_fingerprint: Digest
    shots: Count
    seed: Count | None = None
    n_train: Count
    n_validation: Count
    selected_on: Name
    templates: Prompts = ()
    class_prompts: Annotated[tuple[Prompts, ...], Field(max_length=MOST_CLASSES)] = ()
    temperature: Annotated[float, Field(ge=1e-3, le=1e4)] | None = None
    scores: Annotated[tuple[Score, ...], Field(max_length=100)] = ()
    trained_on: date
    version: Name
    dataset_licence: Text | None = None
    dataset_citation: Text | None = None

    @classmethod
    def read(cls, value: Any) -> "ClassifierMetadata":
        """Validate metadata as it stands in a file.

        Args:
            value: result of `model_dump(mode="json")`, which is not trusted.

        Raises:
            DataError: an entry is missing or invalid; the message names the first.
        """
        try:
            # As JSON, which has neither tuples nor dates, and is otherwise read strictly.
            return cls.model_validate_json(json.dumps(value))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"its metadata is wrong at {place:.100}: {first['msg']:.200}") from None
