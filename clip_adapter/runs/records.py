"""The records of a run and of its results, as frozen dataclasses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.errors import RunStoreError
from clip_adapter.runs.run_settings import Candidate, EvaluatedOn, RunSettings, Versions

if TYPE_CHECKING:  # takes time to import, and only describes shapes
    from jaxtyping import Float, Int

SelectedOn = Literal["validation", "held-out shots", "training", "nothing", "test (oracle)"]
"""Data that chose a run's hyper-parameters: "nothing" when all were given beforehand, "training"
when they were learned like weights."""

Selection = Literal["validation", "held-out-shots", "none"]
"""Source of the images to select on: beside the shots, among the shots, or none."""

Protocol = Literal["all-classes", "base-to-new", "domain-shift", "cross-dataset"]
"""Classes that are trained and tested: all of a dataset; half of them, and each half; those of another
dataset, which are trained ones by name; those of another dataset, which are known by their text."""
Status = Literal["completed", "failed"]

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_IMAGE_CHOICE = re.compile(r"own|published:[0-9a-f]{8,64}|budget:[1-9][0-9]*")
_SHA256_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One execution of one method on one few-shot split: a row of the table `runs`.

    Attributes:
        run_id: 32 lower-case hex digits, new for every execution.
        fingerprint: fingerprint of the inputs, settings and code; equal ones give equal results.
        sweep_id: identifier of the sweep that the run belongs to.
        started_at: time at which the sweep began, with a timezone.
        dataset: name of the dataset in the store.
        index_fingerprint: fingerprint of the dataset's index.
        split_fingerprint: fingerprint of the few-shot split; empty for a method without images.
        class_names: names of the classes that are tested, in the order of their numbers.
        templates: prompts, with {} for the name of the class.
        model: name by which the encoder was requested.
        encoder: fingerprint of the encoder.
        logit_scale: factor of the cosine similarities.
        method: name of the method.
        shots: labelled images a class; 0 for a method that uses none, `ALL_SHOTS` for every image.
        seed: seed of the split; None for a method without randomness.
        settings: settings as finally used that have a column.
        settings_fingerprint: fingerprint of the requested settings, grid included, and the prompts.
        tried: candidates among which was chosen; None when nothing was to be chosen.
        study: name of the ablation study that the run belongs to; such runs are on no leaderboard.
        selected_on: data that chose among the candidates.
        status: "completed" or "failed".
        error: reason why a failed run failed.
        seconds_encode: time spent encoding the dataset for the sweep.
        seconds_train: time spent fitting, search for hyper-parameters included.
        peak_memory_bytes: peak resident memory of the process.
        n_train: number of training images.
        n_validation: number of images to select on.
        n_test: number of test images.
        n_leaked: test images that also occur, bit for bit, among the training images.
        device: torch device that trained.
        precision: numeric format of the encoder's forward pass.
        versions: versions of the software.
        git_commit: commit of the code; None outside a checkout.
        hyperparameters: all settings as finally used, by name, each a value that JSON can hold;
            None for those in `settings`.
        image_choice: what chose the training images: "own", "published:<digest>" for published
            choices, or "budget:<n>" for n images in all.
        selection: where images to select on came from; None for what `selected_on` implies.
        logit_bias: constant that the encoder adds to every logit; None where it has none.
        protocol: which classes are trained and tested.
        tested_on: images of the test; None for all classes of the run's dataset.
        class_prompts: prompts of each class in place of the templates, none for a class without prompts
            of its own; None where no class has any.
    """

    run_id: str
    fingerprint: str
    sweep_id: str
    started_at: datetime
    dataset: str
    index_fingerprint: str
    split_fingerprint: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    model: str
    encoder: str
    logit_scale: float
    method: str
    shots: int
    seed: int | None
    settings: RunSettings
    settings_fingerprint: str
    tried: tuple[Candidate, ...] | None = None
    study: str | None = None
    selected_on: SelectedOn
    status: Status = "completed"
    error: str | None = None
    seconds_encode: float
    seconds_train: float
    peak_memory_bytes: int
    n_train: int
    n_validation: int
    n_test: int
    n_leaked: int
    device: str
    precision: str
    versions: Versions
    git_commit: str | None = None
    hyperparameters: Mapping[str, Any] | None = None
    image_choice: str = "own"
    selection: Selection | None = None
    logit_bias: float | None = None
    protocol: Protocol = "all-classes"
    tested_on: EvaluatedOn | None = None
    class_prompts: tuple[tuple[str, ...], ...] | None = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the hyper-parameters for which a grid was tried, sorted."""
        return tuple(sorted(self.tried[0].settings)) if self.tried else ()

    def check(self) -> None:
        """Raise if the record contradicts itself; a run that is read from a store is not checked.

        Raises:
            RunStoreError: the run id or image choice is malformed, the time has no timezone, or
                the error contradicts the status.
            UnknownNameError: the status, `selected_on`, the selection or the protocol is not one of
                the known words.
        """
        _check_word("status", self.status, get_args(Status))
        _check_word("selected_on", self.selected_on, get_args(SelectedOn))
        if self.selection is not None:
            _check_word("selection", self.selection, get_args(Selection))
        _check_word("protocol", self.protocol, get_args(Protocol))
        if not _IMAGE_CHOICE.fullmatch(self.image_choice):
            raise RunStoreError(
                f"image_choice of run {self.run_id} is {self.image_choice!r}, expected 'own', "
                "'published:<digest>' or 'budget:<n>'"
            )
        if not _RUN_ID.fullmatch(self.run_id):
            raise RunStoreError(
                f"run_id is {self.run_id!r}, expected 32 lower-case hex digits: use uuid4().hex"
            )
        if self.started_at.tzinfo is None:
            raise RunStoreError(
                f"started_at of run {self.run_id} is {self.started_at} in no timezone: "
                "use datetime.now(UTC)"
            )
        if (self.error is None) != (self.status == "completed"):
            raise RunStoreError(
                f"run {self.run_id} is {self.status!r} with the error {self.error!r}: "
                "expected an error from every failed run and from no other"
            )


@dataclass(frozen=True, kw_only=True)
class ImagePredictions:
    """The predictions of a run for the images of a split, in the split's order.

    Attributes:
        image_sha256: digests of the images, 32 bytes each.
        label: true class numbers.
        predicted: class numbers with the highest logit.
        confidence: softmax probabilities of the predicted classes.
        margin: differences between `confidence` and the second highest probability.
        label_probability: softmax probabilities of the true classes; None where not computed.
        split: name of the split, "test" or "validation".
        fold: number of the fold of held-out shots; None where one classifier predicts all images.

    Raises:
        RunStoreError: the columns differ in length, or a digest is not 32 bytes long.
    """

    image_sha256: Sequence[bytes]
    label: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]
    label_probability: Float[np.ndarray, " n"] | None = None
    split: str = "test"
    fold: int | None = None

    def __post_init__(self) -> None:
        _check_digests(self.image_sha256)
        for name in ("label", "predicted", "confidence", "margin", "label_probability"):
            column = getattr(self, name)
            if column is not None:
                _check_length(name, len(column), expected=len(self.image_sha256))


@dataclass(frozen=True, kw_only=True)
class SplitImages:
    """Images of a few-shot split, in order.

    Attributes:
        image_sha256: digests of the images, 32 bytes each.
        label: class numbers.

    Raises:
        RunStoreError: the columns differ in length, or a digest is not 32 bytes long.
    """

    image_sha256: Sequence[bytes]
    label: Int[np.ndarray, " n"]

    def __post_init__(self) -> None:
        _check_digests(self.image_sha256)
        _check_length("label", len(self.label), expected=len(self.image_sha256))


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """The images of one few-shot split.

    Attributes:
        split_fingerprint: fingerprint of the split.
        dataset: name of the dataset in the store.
        index_fingerprint: fingerprint of the dataset's index.
        shots: labelled images a class.
        seed: seed with which the images were sampled, or number of a published choice.
        train: images to train on.
        validation: images to select on.
    """

    split_fingerprint: str
    dataset: str
    index_fingerprint: str
    shots: int
    seed: int
    train: SplitImages
    validation: SplitImages


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run with its results.

    Attributes:
        run: the row of the run.
        metrics: numbers by split and name, as `("test", "accuracy")`, a fraction.
        curves: values by name, one for each step.
        predictions: predictions on the test split; None when none were made.
        other_predictions: predictions on validation images, or on each fold of held-out shots.
        split: few-shot split of the run; None when it learned from no image.
        request: number of the last request that the run answers, in a result that is read from a
            store; None where there is none.
        training_images: digest over the images that the run was trained on, in any order, in a result
            that is read from a store; None where there are none, or they are not recorded.
    """

    run: RunRecord
    metrics: Mapping[tuple[str, str], float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    predictions: ImagePredictions | None = None
    other_predictions: Sequence[ImagePredictions] = ()
    split: SplitRecord | None = None
    request: int | None = None
    training_images: str | None = None

    @property
    def recency(self) -> tuple[int, float, str]:
        """Sort key by the last request, and by time among runs that no request asks for."""
        started = self.run.started_at.timestamp() if self.request is None else 0.0
        return self.request or 0, started, self.run.run_id


def _check_word(kind: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise UnknownNameError(kind, word, known)


def _check_digests(digests: Sequence[bytes]) -> None:
    lengths = {len(digest) for digest in digests} - {_SHA256_BYTES}
    if lengths:
        raise RunStoreError(
            f"an image digest has {min(lengths)} bytes, expected {_SHA256_BYTES}: "
            "pass hashlib.sha256(content).digest()"
        )


def _check_length(name: str, found: int, *, expected: int) -> None:
    if found != expected:
        raise RunStoreError(
            f"{found} values of {name} for {expected} images: expected one an image"
        )
