"""Show the leaderboard of a dataset in Prefect's UI."""

from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from clip_adapter.inert import inert
from clip_adapter.runs import query
from feature_cache import Location
from tasks.artifact_keys import artifact_key
from tasks.publishing import has_audience, publishing

__all__ = ["publish_leaderboard"]

_BOARD = """
SELECT
    method, shots, seeds,
    round(100 * accuracy_mean, 1) AS accuracy, round(100 * accuracy_ci95, 1) AS interval,
    round(nll_mean, 3) AS nll, selected_on AS chosen, residual_ratio_median AS ratio,
    round(seconds_train_mean, 2) AS seconds, strftime(last_run, '%Y-%m-%d %H:%M') AS last,
    model, encoder[:8] AS encoder, settings_fingerprint[:8] AS settings
FROM leaderboard WHERE dataset = '{}'
"""


@task(name="publish-leaderboard", cache_policy=NO_CACHE, result_serializer="json")
def publish_leaderboard(*, root: Location, dataset: str) -> None:
    """Publish the `leaderboard` rows of one dataset as a table artifact; never raises."""
    if not has_audience():
        return
    with publishing("the leaderboard"):
        rows = query(root, _BOARD.format(dataset.replace("'", "''"))).to_pylist()
        create_table_artifact(
            key=artifact_key("leaderboard", dataset),
            table=[_shown(row) for row in rows],
            description=f"Test accuracy on {inert(dataset)} in percent: mean over seeds, and the "
            "half-width of its 95 % interval. Last run in UTC.",
        )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The UI reads every text as Markdown, and leaves numbers alone."""
    return {
        name: str(inert(value)) if isinstance(value, str) else value for name, value in row.items()
    }
