"""The champion of each dataset: recorded decisions, and the files of the promoted classifiers."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, get_args
from uuid import uuid4

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.append_only import AppendOnlyTable
from clip_adapter.runs.errors import DamagedChampionError, RunStoreError
from clip_adapter.shots import shots_in_words
from feature_cache import (
    CorruptFileError,
    Location,
    classifier_folder,
    read_content,
    storage,
    write_content,
    write_table,
)

Outcome = Literal["promoted", "refused", "rolled back"]
OnDamagedChampion = Callable[[DamagedChampionError], None]
"""Function called with the error of every champion that is skipped because its file is damaged."""

_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ("accuracy_challenger", "accuracy_champion", "low", "high", "p_value")


@dataclass(frozen=True, kw_only=True)
class PromotionRecord:
    """One decision about a dataset's champion, with its numbers; decisions are only added.

    A roll back repeats what was recorded of the promotion that it returns to. The candidate is
    called challenger in the names of columns.

    Attributes:
        promotion_id: 32 lower-case hex digits, new for every decision.
        sequence: number of the decision on its dataset, from 1; the order does not depend on
            clocks.
        decided_at: time of the decision, with a timezone.
        dataset: name of the dataset in the store.
        index_fingerprint: fingerprint of the dataset's index that the candidate was trained on.
        encoder: fingerprint of the encoder whose features the candidate takes.
        model: name by which the encoder was requested.
        run_id: id of the candidate's run.
        method: name of the candidate's method.
        shots: labelled images a class that the candidate was trained on.
        seed: seed of the candidate's run.
        settings_fingerprint: fingerprint of the candidate's settings and prompts.
        decision: "promoted", "refused" or "rolled back".
        reason: a sentence with the numbers.
        classifier_sha256: digest of the file of the new champion; None if refused.
        champion_before: id of the promotion that was current until then; None for zero-shot.
        restores: id of the promotion that a roll back returns to; None for other decisions.
        n_images: number of images on which both were compared.
        accuracy_challenger: accuracy of the candidate, a fraction; None, as are the next four,
            where nothing was compared.
        accuracy_champion: accuracy of the champion, or of zero-shot where there was none.
        low: lower end of the 95 % interval of the difference in accuracy.
        high: upper end of that interval.
        p_value: p-value of McNemar's test.
        n_relabelled: images with another class than when the champion was trained.
        retraining_fingerprint: fingerprint of the runs that the candidate was chosen from, and of
            the policy.
        git_commit: commit of the code; None outside a checkout.
        pinned: whether the champion is pinned after the decision: it stays until it is unpinned or is
            beaten on newer images alone; None in decisions of earlier versions.
        encoder_spec: parameters with which the encoder is loaded again, in JSON; None where they
            were not recorded.
        weights_digest: digest of the encoder's weights, in lower-case hex; None where it was not
            recorded.

    Raises:
        RunStoreError: an id or digest is malformed, the time has no timezone, numbers are out of
            range, or fields contradict the decision.
        UnknownNameError: the decision is not one of the known words.
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
    decision: Outcome
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
        if self.decision not in get_args(Outcome):
            raise UnknownNameError("decision", self.decision, get_args(Outcome))
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
    def candidate(self) -> str:
        """The candidate in words: its method, shots and seed."""
        return f"{self.method} at {shots_in_words(self.shots)}, seed {self.seed}"

    @property
    def action(self) -> str:
        """What was done in a word: the decision, or "pinned" or "unpinned" where the champion stayed."""
        if self.decision == "rolled back" and self.restores == self.champion_before:
            return "pinned" if self.pinned else "unpinned"
        return self.decision

    @property
    def sets_champion(self) -> bool:
        """Whether its classifier is the champion until the next decision that sets one."""
        return self.decision != "refused"

    @property
    def promotion(self) -> str:
        """The id of the promotion of its classifier: its own, or the one that it restores."""
        return self.restores or self.promotion_id

    @property
    def order(self) -> tuple[int, datetime, str]:
        """Sort key among the decisions on a dataset."""
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

    def _wrong(self, found: str, expected: str) -> RunStoreError:
        return RunStoreError(
            f"decision {self.promotion_id!r} on {self.dataset!r}: {found}, expected {expected}"
        )


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion of a dataset, with the verified content of its file.

    Attributes:
        record: the decision that made it the champion.
        path: location of the file.
        content: content of the safetensors file, as `decode_classifier` takes it.
    """

    record: PromotionRecord
    path: Location
    content: bytes


@dataclass(frozen=True)
class PromotionStore(AppendOnlyTable[PromotionRecord]):
    """Decisions in the table `promotions`, classifiers below `<root>/champions/<dataset>`.

    Attributes:
        root: location of the store.
    """

    name = "promotions"
    make = PromotionRecord

    def datasets(self) -> list[str]:
        """The datasets with decisions, sorted."""
        return sorted({record.dataset for record in self.records()})

    def known_history(self, dataset: str) -> list[PromotionRecord]:
        """The decisions on a dataset in order, of which there must be at least one.

        Raises:
            RunStoreError: nothing was decided on the dataset yet.
            UnknownNameError: there is no such dataset; the message suggests the nearest.
        """
        history = self.history(dataset)
        indexed = storage.list_folders(self.root / "datasets")
        if not history and dataset in indexed:
            raise RunStoreError.no_champion(dataset)
        if not history:
            raise UnknownNameError(
                "dataset in this store", dataset, sorted({*self.datasets(), *indexed})
            )
        return history

    def champion(self, dataset: str, *, on_corruption: OnDamagedChampion) -> Champion | None:
        """The last champion whose file is undamaged; None where there is none.

        A promotion that was rolled back is not returned to because the file of another is damaged.

        Args:
            dataset: name of the dataset in the store.
            on_corruption: called with the error of every champion that is skipped.
        """
        history = self.history(dataset)
        superseded: set[str] = set()
        for record in reversed(history):
            if not record.sets_champion or record.promotion in superseded:
                continue
            superseded |= rolled_back(history, record)
            try:
                return self.read(record)
            except DamagedChampionError as error:
                on_corruption(error)
        return None

    def read(self, record: PromotionRecord) -> Champion:
        """Read and verify the classifier of a promotion or roll back.

        Raises:
            DamagedChampionError: the file is damaged or missing.
        """
        path = self.path_of(record)
        try:
            return Champion(record=record, path=path, content=read_content(path))
        except FileNotFoundError:
            reason = "it is gone"
        except CorruptFileError as error:
            reason = error.reason
        raise DamagedChampionError(
            f"the classifier of promotion {record.promotion[:8]}, {path}, cannot be used: "
            f"{reason}. The champion before it, if there was one, is current: put the file back from a copy, or "
            "train with --promote"
        )

    def path_of(self, record: PromotionRecord) -> Location:
        """Location of the classifier's file of a promotion or roll back."""
        folder = classifier_folder(self.root, record.dataset)
        return folder / f"{record.classifier_sha256}.safetensors"

    def missing_champions(self) -> list[PromotionRecord]:
        """The last decision on a champion of each dataset whose classifier's file is gone.

        A file that was found damaged and set aside is not counted: its content is known to be lost.

        Raises:
            CorruptFileError, NewerFormatError, WrongSchemaError: a file of decisions is damaged.
        """
        missing = []
        for dataset in self.datasets():
            record = last_champion(self.history(dataset))
            entries = storage.list_entries(classifier_folder(self.root, dataset))
            there = {entry.name.partition(".")[0] for entry in entries}
            if record is not None and record.classifier_sha256 not in there:
                missing.append(record)
        return missing

    def decided(self, dataset: str, retraining_fingerprint: str) -> PromotionRecord | None:
        """The last decision on a sweep of that fingerprint; None where there is none."""
        made = [
            record
            for record in self.history(dataset)
            if record.retraining_fingerprint == retraining_fingerprint and not record.restores
        ]
        return made[-1] if made else None

    def append(self, record: PromotionRecord, *, content: bytes | None = None) -> Location:
        """Record a decision; the file of its classifier is written before the row.

        Returns:
            The file of the row.

        Raises:
            RunStoreError: the digest of the content is not the one in the record.
            OSError: the disk or object store failed; the decision is not recorded.
        """
        row = self.row(record)
        if content is not None:
            path = write_content(classifier_folder(self.root, record.dataset), content)
            if path != self.path_of(record):
                raise RunStoreError(
                    f"decision {record.promotion_id} names the classifier "
                    f"{record.classifier_sha256}, the one given is {path.stem}: give its digest"
                )
        return write_table(self.folder, row, kind=self.name)


def last_champion(history: Sequence[PromotionRecord]) -> PromotionRecord | None:
    """The last decision that set a champion, whether or not its file is undamaged."""
    return next((record for record in reversed(history) if record.sets_champion), None)


def rolled_back(history: Sequence[PromotionRecord], record: PromotionRecord) -> set[str]:
    """The ids of the promotions that a decision undid; none unless it is a rollback.

    Args:
        history: every decision on the dataset, in order.
        record: one of them.
    """
    ids = [each.promotion_id for each in history]
    if record.restores not in ids:
        return set()
    return set(ids[ids.index(record.restores) + 1 : ids.index(record.promotion_id)])


def roll_back(store: PromotionStore, dataset: str, *, to: str | None = None) -> PromotionRecord:
    """Make an earlier promotion current again, and pin it.

    Args:
        store: store of the decisions.
        dataset: name of the dataset in the store.
        to: id of a promotion or its first digits; the promotion before the current one when None.

    Returns:
        The decision that was added.

    Raises:
        UnknownNameError: there is no such dataset, or no promotion with that id.
        RunStoreError: nothing was promoted, there is no promotion before the current one, or the
            promotion is current already.
        DamagedChampionError: the file of that promotion's classifier is damaged or missing.
    """
    history = store.known_history(dataset)
    current = last_champion(history)
    if current is None:
        raise RunStoreError.no_champion(dataset)
    promoted = {each.promotion_id: each for each in history if each.decision == "promoted"}
    target = _before(current, promoted) if to is None else _named(to, current, promoted)
    store.read(target)
    reason = f"rolled back by hand from {current.promotion[:8]} to {target.promotion_id[:8]}"
    if target.promotion_id in rolled_back(history, current):
        reason += ", which was rolled back itself"
    return _restore(store, target, before=current, is_pinned=True, reason=f"{reason}; pinned")


def set_pinned(store: PromotionStore, dataset: str, *, is_pinned: bool) -> PromotionRecord:
    """Pin the champion of a dataset, or unpin it.

    Args:
        store: store of the decisions.
        dataset: name of the dataset in the store.
        is_pinned: whether it stays until it is beaten on images that are newer than this decision.

    Returns:
        The decision that was added: a rollback to the champion itself.

    Raises:
        UnknownNameError: there is no such dataset.
        RunStoreError: nothing was promoted, or the champion is pinned, or unpinned, already.
        DamagedChampionError: the file of the champion's classifier is damaged or missing.
    """
    history = store.known_history(dataset)
    current = last_champion(history)
    if current is None:
        raise RunStoreError.no_champion(dataset)
    if bool(current.pinned) == is_pinned:
        raise RunStoreError(
            f"the champion of {dataset!r}, {current.promotion[:8]}, is {'pinned already' if is_pinned else 'not pinned'}: "
            "there is nothing to change"
        )
    store.read(current)
    reason = f"{'pinned' if is_pinned else 'unpinned'} by hand"
    return _restore(store, current, before=current, is_pinned=is_pinned, reason=reason)


def _restore(
    store: PromotionStore,
    target: PromotionRecord,
    *,
    before: PromotionRecord,
    is_pinned: bool,
    reason: str,
) -> PromotionRecord:
    record = replace(
        target,
        promotion_id=uuid4().hex,
        sequence=store.next_sequence(target.dataset),
        decided_at=datetime.now(UTC),
        decision="rolled back",
        reason=reason,
        champion_before=before.promotion,
        restores=target.promotion,
        pinned=is_pinned,
    )
    store.append(record)
    return record


def _before(current: PromotionRecord, promoted: dict[str, PromotionRecord]) -> PromotionRecord:
    origin = promoted.get(current.promotion)
    before = promoted.get(origin.champion_before or "") if origin else None
    if before is None:
        raise RunStoreError(
            f"{current.promotion[:8]} is the first champion of {current.dataset!r}: there is no "
            "promotion before it to roll back to, and it is current until another is proven better"
        )
    return before


def _named(
    name: str, current: PromotionRecord, promoted: dict[str, PromotionRecord]
) -> PromotionRecord:
    found = [each for each in promoted.values() if each.promotion_id.startswith(name)]
    if len(found) != 1:
        raise UnknownNameError("promotion", name, list(promoted))
    if found[0].promotion_id == current.promotion:
        raise RunStoreError(
            f"{current.promotion[:8]} is current already: name another, as "
            f"`clip-adapter champion {current.dataset} --history` lists them"
        )
    return found[0]
