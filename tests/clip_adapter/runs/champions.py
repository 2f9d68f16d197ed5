"""The current champion of a store, and ways to damage it."""

from pathlib import Path

from clip_adapter.runs import PromotionRecord, PromotionStore

__all__ = ["current_champion", "damage", "id_of"]


def id_of(number: int) -> str:
    return f"{number:032x}"


def current_champion(root: Path, said: list[str] | None = None) -> str | None:
    """The current promotion; messages about damaged ones are appended to `said`."""
    messages = [] if said is None else said
    found = PromotionStore(root).champion(
        "digits", on_corruption=lambda each: messages.append(str(each))
    )
    return found and found.record.promotion


def damage(root: Path, record: PromotionRecord) -> None:
    Path(str(PromotionStore(root).path_of(record))).write_bytes(b"")
