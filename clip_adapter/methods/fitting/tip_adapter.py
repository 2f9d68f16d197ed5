"""Tip-Adapter: the few shots as a cache, taken as they are."""

import time
from collections.abc import Sequence
from dataclasses import replace

from clip_adapter.methods.fitting.caches import (
    best_cache,
    cache_keys,
    filled_cache,
)
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tip_adapter import TipAdapter


def fit(
    method: TipAdapter, tasks: Sequence[FewShotTask], *, progress: Progress | None
) -> list[Fitted]:
    """What `TipAdapter.fit` promises."""
    if len(method.alphas) * len(method.betas) > 1:
        require_validation(tasks)
    fitted = []
    for task in tasks:
        start = time.perf_counter()
        filled = filled_cache(task, cache_keys(task, method.views))
        found = best_cache(filled, task, alphas=method.alphas, betas=method.betas)
        used = replace(found, settings={**found.settings, "views": method.views})
        fitted.append(replace(used, seconds=time.perf_counter() - start))
        if progress is not None:
            progress(1 / len(tasks))
    return fitted
