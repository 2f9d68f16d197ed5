"""Back to an earlier champion, by one more decision."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.errors import NoChampionError, RollbackError
from clip_adapter.runs.promotion_record import PromotionRecord
from clip_adapter.runs.promotions import PromotionStore, last_champion

__all__ = ["roll_back"]


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
