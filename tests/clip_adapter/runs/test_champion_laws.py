"""What holds of the champion whatever is done to its store."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    PromotionRecord,
    PromotionStore,
    RunStoreError,
    roll_back,
)

Decision = Callable[..., PromotionRecord]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["promote", "refuse", "damage", "roll back"]), st.integers(0, 9)),
    max_size=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_the_champions_file_always_verifies(
    tmp_path_factory: pytest.TempPathFactory,
    decision_of: Decision,
    actions: list[tuple[str, int]],
) -> None:
    """Whatever happens to the store, the current champion has every byte, if there is one."""
    root = tmp_path_factory.mktemp("store")
    store = PromotionStore(root)
    for action, number in actions:
        history = store.history("digits")
        if action == "roll back":
            _try_to_roll_back(store)
        elif action == "damage" and (root / "champions").exists():
            files = sorted((root / "champions" / "digits").iterdir())
            files[number % len(files)].write_bytes(b"damaged")
        elif action in {"promote", "refuse"}:
            promotes = action == "promote"
            found = store.champion("digits", on_corruption=lambda _: None)
            record = decision_of(
                len(history) + 1,
                decision="promoted" if promotes else "refused",
                champion_before=found and found.record.promotion,
            )
            store.append(record, content=_content(record) if promotes else None)
        _check(store)


def _try_to_roll_back(store: PromotionStore) -> None:
    try:
        roll_back(store, "digits")
    except (RunStoreError, UnknownNameError):
        return


def _check(store: PromotionStore) -> None:
    found = store.champion("digits", on_corruption=lambda _: None)
    if found is not None:
        assert hashlib.sha256(found.content).hexdigest() == found.record.classifier_sha256
        assert found.content != b"damaged"


def _content(record: PromotionRecord) -> bytes:
    return f"classifier {record.sequence}".encode()
