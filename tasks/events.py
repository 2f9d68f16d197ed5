"""A proven regression told to Prefect, where an automation can wait for it."""

from prefect.events import emit_event

from clip_adapter.runs import PromotionRecord

REGRESSED = "clip-adapter.model.regressed"
"""The name of the event."""

_NUMBERS = (
    "promotion_id",
    "dataset",
    "model",
    "method",
    "shots",
    "seed",
    "run_id",
    "reason",
    "champion_before",
    "n_images",
    "accuracy_challenger",
    "accuracy_champion",
    "low",
    "high",
    "p_value",
    "n_relabelled",
)


def emit_regression(record: PromotionRecord) -> None:
    """Emit the event about the dataset, with the decision's numbers as its payload."""
    emit_event(
        event=REGRESSED,
        resource={
            "prefect.resource.id": f"clip-adapter.dataset.{record.dataset}",
            "prefect.resource.name": record.dataset,
        },
        payload={name: getattr(record, name) for name in _NUMBERS},
    )
