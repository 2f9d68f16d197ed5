"""What is recorded about a run: plain frozen values, checked where they are made."""

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
"""What data chose a run's hyper-parameters: "nothing" when all were given beforehand, "training"
when they were learned like weights."""

Selection = Literal["validation", "held-out-shots", "none"]
"""Where images to select on come from: beside the shots, among the shots, or nowhere."""

Protocol = Literal["all-classes", "base-to-new"]
Status = Literal["completed", "failed"]

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_IMAGE_CHOICE = re.compile(r"own|published:[0-9a-f]{8,64}|budget:[1-9][0-9]*")
_SHA256_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One execution of one method on one few-shot split.

    Attributes:
        run_id: 32 lower-case hex digits, new for every execution.
        fingerprint: What was trained: the same inputs, settings and code give the same one.
        sweep_id: Shared by the runs that were made together.
        started_at: With a timezone.
        encoder: Fingerprint of the encoder; `model` is the name a person knows it by.
        shots: Labelled images a class; 0 for a method that uses none, `ALL_SHOTS` for every image.
        seed: None for a method without randomness.
        settings_fingerprint: Of the settings asked for, grid included, not of what was selected.
        tried: Every candidate; None when nothing was to be chosen.
        study: The ablation a run was made for; such runs stand on no leaderboard.
        selected_on: The data that chose among the candidates.
        error: Why a failed run failed.
        n_leaked: Test images that also occur, bit for bit, among the training images.
        hyperparameters: Settings as finally used, by name, each a value that JSON can hold; None
            for exactly those of `settings`.
        image_choice: What chose the training images: "own", "published:<digest>" of a published
            choice, or "budget:<n>" of n images in all.
        selection: None for what `selected_on` implies, see `runs_table`.
        logit_bias: Added to every logit by the encoder; None where it has none.
        protocol: Which classes are trained and tested: "all-classes" or "base-to-new".
        tested_on: None for all classes of the run's own dataset.

    Raises:
        RunStoreError: The run id or image choice is malformed, the time has no timezone, or
            the error contradicts the status.
        UnknownNameError: The status, `selected_on`, the selection or the protocol is not one of
            the known words.
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

    def __post_init__(self) -> None:
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
    """What a run said about each image of a split, in the split's order.

    Attributes:
        image_sha256: Digests of 32 bytes.
        label: The true class numbers.
        predicted: The class numbers with the highest logit.
        confidence: Their softmax probabilities.
        margin: How far those lie above the runner-up's.
        label_probability: The softmax probability of each `label`; None where not computed.
        split: Whose images: "test", or those a run selected on, "validation".
        fold: Of shots held out in turn; None where all images were judged by one classifier.

    Raises:
        RunStoreError: The columns differ in length, or a digest is not 32 bytes long.
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
    """Images and their class numbers, in order; raises as `ImagePredictions` does."""

    image_sha256: Sequence[bytes]
    label: Int[np.ndarray, " n"]

    def __post_init__(self) -> None:
        _check_digests(self.image_sha256)
        _check_length("label", len(self.label), expected=len(self.image_sha256))


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """The exact images of one few-shot split."""

    split_fingerprint: str
    dataset: str
    index_fingerprint: str
    shots: int
    seed: int
    train: SplitImages
    validation: SplitImages


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run with everything that came out of it.

    Attributes:
        run: What was done.
        metrics: Numbers by (split, name), e.g. `("test", "accuracy")`, a fraction.
        curves: Values by name, one a step.
        predictions: On the test split; None when none were made.
        other_predictions: On validation images, or one a fold on shots that were held out.
        split: The few-shot split it learned from; None when it learned from no image.
    """

    run: RunRecord
    metrics: Mapping[tuple[str, str], float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    predictions: ImagePredictions | None = None
    other_predictions: Sequence[ImagePredictions] = ()
    split: SplitRecord | None = None


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
