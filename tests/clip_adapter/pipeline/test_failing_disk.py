"""Whichever write, sync, rename or removal fails, a store is old or new, and the next run ends well."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from states import features_in, refuse_unsound, rows_in
from system_calls import SystemCalls, disk_error

from clip_adapter.pipeline.encode import EncodedDataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ExtractInSteps = Callable[..., EncodedDataset]


@pytest.mark.parametrize("lasting", [False, True])
def test_whichever_call_fails_nothing_is_lost_or_wrong(
    tmp_path: Path, extract_in_steps: ExtractInSteps, *, lasting: bool
) -> None:
    """Once, as a disk that has a bad spot; or from then on, as a disk that is full."""
    extract = partial(extract_in_steps, files_worth_merging=4)
    calls = SystemCalls(tmp_path / "undisturbed")
    with replaced(calls):
        n_features = extract(tmp_path / "undisturbed").n_encoded
    whole = rows_in(tmp_path / "undisturbed")
    assert calls.n_calls > 50
    # What a full disk refuses later is what it refuses once: every third place is enough there.
    for number in range(1, calls.n_calls + 1, 3 if lasting else 1):
        root = tmp_path / f"{number}"
        failing = SystemCalls(
            root, lambda at, n=number: at >= n if lasting else at == n, disk_error
        )
        with replaced(failing), pytest.raises(OSError, match=r"No space left|Input/output error"):
            extract(root)
        held = len(features_in(refuse_unsound(root, whole)))
        after = extract(root)
        assert (after.n_reused, after.n_encoded) == (held, n_features - held)
        assert rows_in(root) == whole


@contextmanager
def replaced(calls: SystemCalls) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, call in calls.replacements.items():
            patch.setattr(os, name, call)
        yield
