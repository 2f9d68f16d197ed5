"""The event of a regression, from here to Prefect's server."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from clip_adapter.runs import PromotionRecord
from tasks.publishing import REGRESSED, emit_regression

WAIT_SECONDS = 30


def refused() -> PromotionRecord:
    return PromotionRecord(
        promotion_id="1" * 32,
        sequence=2,
        decided_at=datetime(2026, 11, 24, 2, tzinfo=UTC),
        dataset="gallery",
        index_fingerprint="index",
        encoder="encoder",
        model="glyphs",
        run_id="2" * 32,
        method="clip-adapter",
        shots=16,
        seed=1,
        settings_fingerprint="settings",
        decision="refused",
        reason="proven worse",
        classifier_sha256=None,
        champion_before="3" * 32,
        n_images=320,
        accuracy_challenger=0.7,
        accuracy_champion=0.8,
        low=-0.15,
        high=-0.05,
        p_value=0.001,
        n_relabelled=0,
        retraining_fingerprint="retraining",
    )


@pytest.mark.usefixtures("prefect_server")
def test_the_server_knows_of_a_regression() -> None:
    emit_regression(refused())
    event = wait_for_event()
    assert event["resource"]["prefect.resource.id"] == "clip-adapter.dataset.gallery"
    assert event["payload"]["accuracy_challenger"] == 0.7
    assert event["payload"]["reason"] == "proven worse"


def wait_for_event() -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    wanted = {"filter": {"event": {"name": [REGRESSED]}}}
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            found = client._client.post("/events/filter", json=wanted).json()["events"]
            if found:
                event: dict[str, Any] = found[0]
                return event
            time.sleep(0.2)
    pytest.fail(f"no event {REGRESSED} after {WAIT_SECONDS} s")
