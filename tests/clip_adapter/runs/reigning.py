"""Who reigns in a store, and ways to damage it."""

from pathlib import Path

from clip_adapter.runs import PromotionRecord, PromotionStore

__all__ = ["damage", "id_of", "reigning"]


def id_of(number: int) -> str:
    return f"{number:032x}"


def reigning(root: Path, said: list[str] | None = None) -> str | None:
    """The promotion that reigns; what is damaged on the way is put into `said`."""
    told = [] if said is None else said
    found = PromotionStore(root).champion(
        "digits", on_corruption=lambda each: told.append(str(each))
    )
    return found and found.record.promotion


def damage(root: Path, record: PromotionRecord) -> None:
    Path(str(PromotionStore(root).path_of(record))).write_bytes(b"")
