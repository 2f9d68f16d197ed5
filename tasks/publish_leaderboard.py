"""Show the leaderboard of a dataset in Prefect's UI."""

from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from clip_adapter.runs import query
from feature_cache import Location

__all__ = ["publish_leaderboard"]


@task(name="publish-leaderboard", cache_policy=NO_CACHE, result_serializer="json")
def publish_leaderboard(*, root: Location, dataset: str) -> None:
    """Publish the `leaderboard` rows of one dataset as a table artifact."""
    rows = query(root, "SELECT * FROM leaderboard").to_pylist()
    create_table_artifact(
        key=f"leaderboard-{dataset}",
        table=[_plain(row) for row in rows if row["dataset"] == dataset],
        description=f"Test accuracy on {dataset}: mean and 95 % interval over seeds.",
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """What JSON can write; times and digests as text."""
    return {
        name: value if isinstance(value, int | float | str | None) else str(value)
        for name, value in row.items()
    }
