"""What is recorded about a decision on who is a dataset's champion."""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.errors import InvalidRecordError

Decision = Literal["promoted", "refused", "rolled back"]

_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("accuracy_challenger", "accuracy_champion", "low", "high", "p_value")


@dataclass(frozen=True, kw_only=True)
class PromotionRecord:
    """One decision, with the numbers that led to it; decisions are only ever added.

    A roll back repeats what was recorded of the promotion that it returns to.

    Attributes:
        promotion_id: 32 lower-case hex digits, new for every decision.
        sequence: One more than the decision before on this dataset, from 1: so that the order does
            not hang on clocks.
        decided_at: With a timezone.
        index_fingerprint: Of the dataset as the challenger was trained on it.
        encoder: Whose features the challenger takes; `model` is the name a person knows it by.
        run_id: The challenger's run.
        shots: Labelled images a class that it was trained on.
        reason: A sentence with the numbers.
        classifier_sha256: Of the file of the classifier that reigns from now on; None if refused.
        champion_before: The promotion that reigned until then; None while that was zero-shot.
        restores: The promotion that a roll back returns to; None for every other decision.
        n_images: On which both were judged.
        accuracy_challenger: A fraction; it and the following are None where nothing was judged.
        accuracy_champion: Of zero-shot, where there was no champion.
        low: Lower end of the 95 % interval of the difference in accuracy.
        high: Its upper end.
        p_value: McNemar's.
        n_relabelled: Images with another class than when the champion was trained.
        retraining_fingerprint: Of all the runs that the challenger was chosen from, and the rule.
        pinned: Whether somebody made it champion by hand and it stays until unpinned; None in
            decisions of earlier versions.
        encoder_spec: With what the encoder is loaded again, in JSON; None where not recorded.
        weights_digest: Of the encoder's weights, in lower-case hex; None where not recorded.

    Raises:
        InvalidRecordError: An id or digest is malformed, the time has no timezone, numbers are
            out of range, or the decision contradicts what goes with it.
        UnknownNameError: The decision is not one of the known words.
    """

    promotion_id: str
    sequence: int
    decided_at: datetime
    dataset: str
    index_fingerprint: str
    encoder: str
    model: str
    run_id: str
    method: str
    shots: int
    seed: int | None
    settings_fingerprint: str
    decision: Decision
    reason: str
    classifier_sha256: str | None
    champion_before: str | None
    restores: str | None = None
    n_images: int
    accuracy_challenger: float | None
    accuracy_champion: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n_relabelled: int
    retraining_fingerprint: str
    git_commit: str | None = None
    pinned: bool | None = None
    encoder_spec: str | None = None
    weights_digest: str | None = None

    def __post_init__(self) -> None:
        if self.decision not in get_args(Decision):
            raise UnknownNameError("decision", self.decision, get_args(Decision))
        self._check_ids()
        self._check_numbers()
        if self.decided_at.tzinfo is None:
            raise self._wrong(
                f"decided_at is {self.decided_at} in no timezone", "datetime.now(UTC)"
            )
        if (self.classifier_sha256 is None) != (self.decision == "refused"):
            raise self._wrong(
                f"it is {self.decision!r} with the classifier {self.classifier_sha256!r}",
                "a classifier with every decision but a refusal",
            )
        if (self.restores is None) != (self.decision != "rolled back"):
            raise self._wrong(
                f"it is {self.decision!r} and restores {self.restores!r}",
                "a promotion to restore with every roll back and no other decision",
            )

    @property
    def reigns(self) -> bool:
        """Whether it made a champion, which reigns until the next that does."""
        return self.decision != "refused"

    @property
    def promotion(self) -> str:
        """The id of the promotion that put the classifier there: its own, or the one restored."""
        return self.restores or self.promotion_id

    @property
    def order(self) -> tuple[int, datetime, str]:
        """By which the decisions on a dataset are sorted."""
        return self.sequence, self.decided_at, self.promotion_id

    def _check_ids(self) -> None:
        ids = {"promotion_id": self.promotion_id, "run_id": self.run_id}
        others = {"champion_before": self.champion_before, "restores": self.restores}
        for name, found in [*ids.items(), *others.items()]:
            if found is not None and not _ID.fullmatch(found):
                raise self._wrong(f"{name} is {found!r}", "32 lower-case hex digits")
        if self.classifier_sha256 is not None and not _SHA256.fullmatch(self.classifier_sha256):
            raise self._wrong(
                f"classifier_sha256 is {self.classifier_sha256!r}", "64 lower-case hex digits"
            )

    def _check_numbers(self) -> None:
        least = {"sequence": 1, "shots": 0, "n_images": 0, "n_relabelled": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise self._wrong(f"{name} is {getattr(self, name)}", f"{smallest} or more")
        numbers = [getattr(self, name) for name in _NUMBERS]
        if any(number is None for number in numbers):
            if any(number is not None for number in numbers):
                raise self._wrong(f"{', '.join(_NUMBERS)} are {numbers}", "all of them or none")
        elif not all(math.isfinite(number) for number in numbers) or self.low > self.high:  # type: ignore[operator]  # neither is None here
            raise self._wrong(f"{', '.join(_NUMBERS)} are {numbers}", "finite numbers, low <= high")

    def _wrong(self, found: str, expected: str) -> InvalidRecordError:
        return InvalidRecordError(
            f"decision {self.promotion_id!r} on {self.dataset!r}: {found}, expected {expected}"
        )
