"""Who is the champion of a dataset: decisions at rest, and the classifiers they speak of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.errors import (
    DamagedChampionError,
    InvalidRecordError,
    NoChampionError,
    RollbackError,
)
from clip_adapter.runs.numbered import NumberedTable
from clip_adapter.runs.promotion_record import PromotionRecord
from clip_adapter.runs.schemas import PROMOTIONS
from feature_cache import (
    CorruptFileError,
    Location,
    classifier_folder,
    read_content,
    storage,
    write_content,
    write_table,
)

OnDamagedChampion = Callable[[DamagedChampionError], None]
"""Told of every champion that is passed over because its classifier is not as it was."""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Who reigns, with the verified content of the classifier's file.

    Attributes:
        record: The decision that put it there.
        path: Where the file lies.
        content: Of a safetensors file, as `decode_classifier` takes it.
    """

    record: PromotionRecord
    path: Location
    content: bytes


@dataclass(frozen=True)
class PromotionStore:
    """Decisions under `<root>/runs/promotions`, classifiers under `<root>/champions/<dataset>`.

    Both are only added to. Any number of processes may do so at once.

    Attributes:
        root: Of everything at rest.
    """

    root: Location

    def datasets(self) -> list[str]:
        """The datasets on which anything was decided, sorted."""
        return sorted({record.dataset for record in self._table.records()})

    def history(self, dataset: str) -> list[PromotionRecord]:
        """Every decision on a dataset, in order; none where there is none.

        Raises:
            CorruptFileError, NewerFormatError: A file of decisions cannot be trusted or understood.
        """
        return self._table.history(dataset)

    def next_sequence(self, dataset: str) -> int:
        """The number for the next decision on a dataset, from 1; raises as `history`."""
        return self._table.next_sequence(dataset)

    def known_history(self, dataset: str) -> list[PromotionRecord]:
        """The same of a dataset that must have one: an empty answer to a misspelt name is wrong.

        Raises:
            NoChampionError: Nothing was decided on that dataset yet.
            UnknownNameError: There is no such dataset; it suggests the nearest.
        """
        history = self.history(dataset)
        indexed = storage.list_folders(self.root / "datasets")
        if not history and dataset in indexed:
            raise NoChampionError(dataset)
        if not history:
            raise UnknownNameError(
                "dataset in this store", dataset, sorted({*self.datasets(), *indexed})
            )
        return history

    def champion(self, dataset: str, *, on_corruption: OnDamagedChampion) -> Champion | None:
        """The last decision that made a champion whose file is as it was; None if there is none.

        What was rolled back past does not come back because another's file is damaged.

        Args:
            dataset: Its name in the store.
            on_corruption: Told of each that is passed over.
        """
        history = self.history(dataset)
        deposed: set[str] = set()
        for record in reversed(history):
            if not record.reigns or record.promotion in deposed:
                continue
            deposed |= rolled_back(history, record)
            try:
                return self.read(record)
            except DamagedChampionError as error:
                on_corruption(error)
        return None

    def read(self, record: PromotionRecord) -> Champion:
        """The classifier of a promotion or roll back, verified.

        Raises:
            DamagedChampionError: The file is damaged or gone.
        """
        path = self.path_of(record)
        try:
            return Champion(record=record, path=path, content=read_content(path))
        except FileNotFoundError:
            reason = "it is gone"
        except CorruptFileError as error:
            reason = error.reason
        raise DamagedChampionError(record.promotion, str(path), reason)

    def path_of(self, record: PromotionRecord) -> Location:
        """Where the classifier of a promotion or roll back lies."""
        folder = classifier_folder(self.root, record.dataset)
        return folder / f"{record.classifier_sha256}.safetensors"

    def decided(self, dataset: str, retraining_fingerprint: str) -> PromotionRecord | None:
        """The last decision that was made on that very retraining, if there is any."""
        made = [
            record
            for record in self.history(dataset)
            if record.retraining_fingerprint == retraining_fingerprint and not record.restores
        ]
        return made[-1] if made else None

    def append(self, record: PromotionRecord, *, content: bytes | None = None) -> Location:
        """Add a decision; with the classifier, whose file is in its place before the row is.

        Returns:
            The file of the row.

        Raises:
            InvalidRecordError: The content is not the classifier that the record names.
            OSError: The disk refused; the decision is not made.
        """
        row = self._table.row(record)
        if content is not None:
            path = write_content(classifier_folder(self.root, record.dataset), content)
            if path != self.path_of(record):
                raise InvalidRecordError(
                    f"decision {record.promotion_id} names the classifier "
                    f"{record.classifier_sha256}, the one given is {path.stem}: give its digest"
                )
        return write_table(self._table.folder, row, kind="promotions")

    @property
    def _table(self) -> NumberedTable[PromotionRecord]:
        folder = self.root / "runs" / "promotions"
        return NumberedTable(folder=folder, schema=PROMOTIONS, make=PromotionRecord)


def last_champion(history: Sequence[PromotionRecord]) -> PromotionRecord | None:
    """The last decision that made a champion, whatever has become of its file."""
    return next((record for record in reversed(history) if record.reigns), None)


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
    """Let an earlier promotion reign again; returns the decision that was added.

    Args:
        store: Where the decisions are.
        dataset: Its name in the store.
        to: The id of a promotion or its first digits; else the one before the reigning one.

    Raises:
        UnknownNameError: There is no such dataset, or no promotion has that id.
        NoChampionError: Nothing was ever promoted.
        RollbackError: There is none before the reigning one, or it is the reigning one.
        DamagedChampionError: The file of that promotion's classifier is damaged or gone.
    """
    history = store.known_history(dataset)
    reigning = last_champion(history)
    if reigning is None:
        raise NoChampionError(dataset)
    promoted = {each.promotion_id: each for each in history if each.decision == "promoted"}
    target = _before(reigning, promoted) if to is None else _named(to, reigning, promoted)
    store.read(target)
    record = replace(
        target,
        promotion_id=uuid4().hex,
        sequence=store.next_sequence(dataset),
        decided_at=datetime.now(UTC),
        decision="rolled back",
        reason=f"rolled back by hand from {reigning.promotion[:8]} to {target.promotion_id[:8]}",
        champion_before=reigning.promotion,
        restores=target.promotion_id,
    )
    store.append(record)
    return record


def _before(reigning: PromotionRecord, promoted: dict[str, PromotionRecord]) -> PromotionRecord:
    origin = promoted.get(reigning.promotion)
    before = promoted.get(origin.champion_before or "") if origin else None
    if before is None:
        raise RollbackError(
            f"{reigning.promotion[:8]} is the first champion of {reigning.dataset!r}: there is no "
            "promotion before it to roll back to, and it reigns until another is proven better"
        )
    return before


def _named(
    name: str, reigning: PromotionRecord, promoted: dict[str, PromotionRecord]
) -> PromotionRecord:
    found = [each for each in promoted.values() if each.promotion_id.startswith(name)]
    if len(found) != 1:
        raise UnknownNameError("promotion", name, list(promoted))
    if found[0].promotion_id == reigning.promotion:
        raise RollbackError(
            f"{reigning.promotion[:8]} reigns already: name another, as "
            f"`clip-adapter champion {reigning.dataset} --history` lists them"
        )
    return found[0]
