"""Results as tables: Arrow, pandas, and HTML in a notebook."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.errors import UnavailableError
from clip_adapter.runs import BASE_TO_NEW, harmonic_mean, query
from clip_adapter.runs.query_result import html_table, html_text
from feature_cache import Location

if TYPE_CHECKING:
    import pandas as pd

_EVALUATED = """
WITH measured AS (
    SELECT
        run_id,
        max(value) FILTER (split = 'test' AND name = 'accuracy') AS accuracy,
        max(value) FILTER (split = 'test' AND name = 'nll') AS nll,
        max(value) FILTER (split = 'validation' AND name = 'accuracy') AS validation_accuracy
    FROM metrics GROUP BY run_id
)
SELECT
    dataset, model, method, shots, seed, accuracy, nll, validation_accuracy, residual_ratio,
    selected_on, seconds_train, started_at, run_id, fingerprint
FROM runs JOIN measured USING (run_id) LEFT JOIN asked_runs USING (run_id)
WHERE status = 'completed' AND dataset = $dataset AND fingerprint IN $fingerprints
QUALIFY row_number() OVER (PARTITION BY fingerprint ORDER BY named DESC NULLS LAST, run_id) = 1
"""

_BASE_TO_NEW = "SELECT run_id, split, name, value FROM metrics WHERE run_id IN $run_ids"
_TESTED_ON = """
SELECT run_id, coalesce(tested_on.dataset, dataset) AS name FROM runs WHERE run_id IN $run_ids
"""


class TabularResult(ABC):
    """A result that can be had as a table."""

    @property
    @abstractmethod
    def summary(self) -> str | Sequence[str]:
        """One or several lines for a log."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """The result as a table of Arrow."""

    def to_pandas(self) -> "pd.DataFrame":
        """The result as a data frame, with the columns of `to_arrow`.

        Raises:
            UnavailableError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise UnavailableError(
                "a data frame was asked for, and pandas is not installed: run "
                "`pip install 'clip-adapter[pandas]'`, or use `to_arrow`"
            )
        return self.to_arrow().to_pandas()

    def _shown(self) -> pa.Table:
        """The columns of `to_arrow` that a notebook shows."""
        return self.to_arrow()

    def _repr_html_(self) -> str:
        """The summary and the first rows, for a notebook."""
        summary = [self.summary] if isinstance(self.summary, str) else self.summary
        lines = "<br>".join(html_text(line) for line in summary)
        return f"<p>{lines}</p>\n{html_table(self._shown())}"


def evaluated_runs(root: Location, fingerprints: Sequence[str], *, dataset: str) -> pa.Table:
    """The recorded runs with these fingerprints, one row each, in the order given.

    `accuracy` and `nll` are those of the test split, `validation_accuracy` is null where nothing
    was chosen. Of several runs with one fingerprint the last is returned.

    Args:
        root: folder or URL of the store.
        fingerprints: fingerprints of completed runs; one that is not recorded gives no row.
        dataset: name of the dataset of the runs.

    Raises:
        FeatureCacheError: a file of runs is damaged.
    """
    found = query(root, _EVALUATED, {"dataset": dataset, "fingerprints": list(fingerprints)})
    rows = pc.index_in(pa.array(fingerprints, pa.string()), found["fingerprint"].combine_chunks())
    return found.take(rows.drop_null())


def with_base_to_new(runs: pa.Table, *, root: Location) -> pa.Table:
    """A table of runs with a column for each metric of `BASE_TO_NEW`, and the harmonic mean of both halves.

    Values are null where a run has none; `harmonic_mean` is that of `base_accuracy` and `new_accuracy`, each
    among its own classes, as in the view `base_to_new`.

    Args:
        runs: rows of `evaluated_runs`.
        root: folder or URL of the store.

    Raises:
        FeatureCacheError: a file of runs is damaged.
    """
    run_ids = runs["run_id"].to_pylist()
    found = query(root, _BASE_TO_NEW, {"run_ids": run_ids}).to_pylist()
    values = {(row["run_id"], row["split"], row["name"]): row["value"] for row in found}
    for column, metric in BASE_TO_NEW.items():
        numbers = [values.get((run_id, *metric)) for run_id in run_ids]
        runs = runs.append_column(column, pa.array(numbers, pa.float64()))
    halves = zip(runs["base_accuracy"].to_pylist(), runs["new_accuracy"].to_pylist(), strict=True)
    means = [None if None in pair else harmonic_mean(*pair) for pair in halves]
    return runs.append_column("harmonic_mean", pa.array(means, pa.float64()))


def with_tested_on(runs: pa.Table, *, root: Location) -> pa.Table:
    """A table of runs with a column `tested_on`, the name of the dataset of the test images.

    Args:
        runs: rows of `evaluated_runs`.
        root: folder or URL of the store.

    Raises:
        FeatureCacheError: a file of runs is damaged.
    """
    run_ids = runs["run_id"].to_pylist()
    found = query(root, _TESTED_ON, {"run_ids": run_ids}).to_pylist()
    names = {row["run_id"]: row["name"] for row in found}
    return runs.append_column("tested_on", pa.array([names[each] for each in run_ids], pa.string()))
