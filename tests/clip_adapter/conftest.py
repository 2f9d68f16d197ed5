"""Decisions that were never made and runs that never ran, for those who keep or show them."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # most packages need nothing of it
    from clip_adapter.runs import PromotionRecord

Decision = Callable[..., "PromotionRecord"]


def classifier(number: int) -> bytes:
    """What stands for the file of the classifier of that number."""
    return f"classifier {number}".encode()


@pytest.fixture
def decision_of() -> Decision:
    """A promotion by its number; the keywords are the fields that matter to the test."""
    from clip_adapter.runs import PromotionRecord  # noqa: PLC0415  # see above

    def make(number: int, **fields: Any) -> PromotionRecord:
        promoted = PromotionRecord(
            promotion_id=f"{number:032x}",
            sequence=number,
            decided_at=datetime(2026, 11, 24, 2, tzinfo=UTC),
            dataset="digits",
            index_fingerprint="index",
            encoder="encoder",
            model="glyphs",
            run_id=f"{number:032x}",
            method="clip-adapter",
            shots=16,
            seed=1,
            settings_fingerprint="settings",
            decision="promoted",
            reason="proven better",
            classifier_sha256=hashlib.sha256(classifier(number)).hexdigest(),
            champion_before=None,
            n_images=320,
            accuracy_challenger=0.9,
            accuracy_champion=0.8,
            low=0.05,
            high=0.15,
            p_value=0.001,
            n_relabelled=0,
            retraining_fingerprint=f"retraining-{number}",
        )
        if fields.get("decision") == "refused":
            fields = {"classifier_sha256": None, **fields}
        return replace(promoted, **fields)

    return make


@pytest.fixture
def promote(root: Path, decision_of: Decision) -> Decision:
    """Record the promotion of that number with its classifier; keywords as for `decision_of`."""
    from clip_adapter.runs import PromotionStore  # noqa: PLC0415  # see above

    def put(number: int, **fields: Any) -> "PromotionRecord":
        before = f"{number - 1:032x}" if number > 1 else None
        record = decision_of(number, **{"champion_before": before, **fields})
        content = classifier(number) if record.decision == "promoted" else None
        PromotionStore(root).append(record, content=content)
        return record

    return put
