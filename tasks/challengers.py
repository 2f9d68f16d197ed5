"""Who of a sweep challenges the champion, and its classifier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods import Method, SavedClassifier
from clip_adapter.runs import query
from clip_adapter.shots import shots_in_words
from feature_cache import Location
from tasks.arrays import DatasetArrays
from tasks.plans import PlannedRun, n_views
from tasks.references import Encoding
from tasks.text_towers import load_text_tower

__all__ = [
    "Challenger",
    "PromotionError",
    "check_can_promote",
    "choose_challenger",
    "fit_challenger",
]

_ON_VALIDATION = """
WITH judged AS (
    SELECT
        run_id,
        max(value) FILTER (name = 'accuracy') AS accuracy,
        max(value) FILTER (name = 'nll') AS nll
    FROM metrics WHERE split = 'validation' GROUP BY run_id
)
SELECT fingerprint, run_id, accuracy, nll FROM runs JOIN judged USING (run_id)
WHERE status = 'completed' AND fingerprint IN ({})
QUALIFY row_number() OVER (PARTITION BY fingerprint ORDER BY started_at DESC, run_id) = 1
"""


class PromotionError(ClipAdapterError, RuntimeError):
    """Who is to be the champion cannot be decided; nothing was."""


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """The run that is to reign if it is proven better.

    Attributes:
        plan: how it is made again.
        run_id: under which it is on record.
    """

    plan: PlannedRun
    run_id: str


@dataclass(frozen=True)
class _Judged:
    run_id: str
    accuracy: float
    nll: float


def check_can_promote(methods: Iterable[Method]) -> None:
    """Return if there is a method among them that can become the champion.

    Raises:
        PromotionError: none of them learns from images, so that validation says nothing of them.
    """
    asked = list(methods)
    if not any(method.learns for method in asked):
        names = ", ".join(method.name for method in asked)
        raise PromotionError(
            f"of {names or 'no methods'} none learns, so that there is no challenger "
            "to promote: train linear-probe or clip-adapter as well, or do not promote"
        )


def choose_challenger(root: Location, plans: Sequence[PlannedRun]) -> Challenger:
    """The first seed of the method that is best on validation, at the largest number of shots.

    Best is the highest mean accuracy over seeds, then the lowest mean NLL, then who was asked for
    first. The test split has no say, and no seed is picked for its luck.

    Raises:
        PromotionError: no run of the sweep is on record with its validation metrics.
    """
    most = max(plan.shots for plan in plans)
    learning = [plan for plan in plans if plan.method.learns and plan.shots == most]
    judged = _on_validation(root, [plan.fingerprint for plan in learning])
    by_method: dict[str, list[PlannedRun]] = {}
    for plan in learning:
        if plan.fingerprint in judged:
            by_method.setdefault(plan.method.name, []).append(plan)
    if not by_method:
        raise PromotionError(
            f"none of the {len(learning)} runs with {shots_in_words(most)} is on record with its accuracy on "
            "validation: train them again with --retrain"
        )
    best = min(by_method.values(), key=lambda plans: _rank(plans, judged))
    return Challenger(plan=best[0], run_id=judged[best[0].fingerprint].run_id)


def fit_challenger(
    arrays: DatasetArrays, plan: PlannedRun, *, encoding: Encoding | None, device: str
) -> SavedClassifier:
    """Fit the run once more: the same images, settings and seed make the same classifier."""
    method = plan.method
    if encoding and method.needs_text_tower:
        arrays = replace(arrays, text_tower=load_text_tower(arrays.encoded, encoding))
    views = arrays.encoded.views_for(n_views(method))
    (fitted,) = method.fit([arrays.task(plan.split, views=views)], device=device)
    return SavedClassifier(
        classifier=fitted.classifier,
        method=method.name,
        settings=fitted.settings,
        encoder=arrays.encoded.encoder,
    )


def _rank(plans: Sequence[PlannedRun], judged: Mapping[str, _Judged]) -> tuple[float, float]:
    found = [judged[plan.fingerprint] for plan in plans]
    return -mean(each.accuracy for each in found), mean(each.nll for each in found)


def _on_validation(root: Location, fingerprints: Sequence[str]) -> dict[str, _Judged]:
    quoted = ", ".join(f"'{fingerprint}'" for fingerprint in fingerprints)  # hex digits
    rows = query(root, _ON_VALIDATION.format(quoted)).to_pylist()
    return {row.pop("fingerprint"): _Judged(**row) for row in rows}
