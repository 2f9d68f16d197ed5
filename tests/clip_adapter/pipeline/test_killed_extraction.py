"""Killing an extraction at any moment loses the batch in hand, and nothing else."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from extractions import Extraction, ForkServer, Undisturbed
from fork_server import BATCH_SIZE
from states import features_in, refuse_unsound, rows_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

N_KILLS = 50
PHASES = ("indexing", "loading", "encoded", "prompts", "merging")


def test_killed_at_fifty_random_moments_it_ends_as_if_undisturbed(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    dice = random.Random(0)  # noqa: S311  # no secret
    kills: Counter[str] = Counter()
    for number in range(N_KILLS):
        root = tmp_path / f"{number}"
        for phase in sorted(dice.choices(PHASES, k=5), key=PHASES.index):
            held = refuse_unsound(root, undisturbed.rows)
            extraction = fork_server.start(root, loaded=False, pause=0.005)
            kills[phase] += killed_within(phase, extraction, dice.random(), undisturbed)
            rows = refuse_unsound(root, undisturbed.rows)
            assert rows >= held
            gained = len(features_in(rows - held))
            assert extraction.n_encoded() - BATCH_SIZE <= gained
        refuse_unequal_end(root, fork_server, undisturbed)
        if kills.total() >= N_KILLS:
            break
    assert kills.total() >= N_KILLS
    assert set(kills) == set(PHASES)


def test_killed_at_any_call_that_changes_the_store_it_ends_as_if_undisturbed(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    assert undisturbed.n_calls > 50
    for number in range(1, undisturbed.n_calls + 1):
        root = tmp_path / f"{number}"
        extraction = fork_server.start(root, die_at=number)
        assert extraction.wait() == -9, extraction.errors
        refuse_unsound(root, undisturbed.rows)
        refuse_unequal_end(root, fork_server, undisturbed)


def test_what_was_encoded_longer_ago_than_the_writer_waits_is_at_rest(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    """A batch takes half a second here, and so long the writer waits."""
    due = []
    for n_batches in (2, 4, 6):
        root = tmp_path / f"{n_batches}"
        extraction = fork_server.start(root, pause=0.5, write_every_seconds=0.5)
        assert extraction.wait_for("encoded", times=n_batches)
        killed = time.monotonic()
        assert extraction.kill()
        # Beside the half second: the batch in hand, and a second for a busy machine.
        due.append(extraction.n_encoded(before=killed - 0.5 - 0.5 - 1.0))
        stored = features_in(refuse_unsound(root, undisturbed.rows))
        assert due[-1] <= len(stored) < undisturbed.n_features
    assert due[-1] > 0


def killed_within(
    phase: str, extraction: Extraction, share: float, undisturbed: Undisturbed
) -> bool:
    """Let a phase begin and a share of it pass, then kill; False where it was over already."""
    if not extraction.wait_for(phase):
        return False
    time.sleep(share * undisturbed.seconds_in(phase))
    return extraction.kill()


def refuse_unequal_end(root: Path, fork_server: ForkServer, undisturbed: Undisturbed) -> None:
    """Run to completion: what is stored is not encoded again, and all is there in the end."""
    n_held = len(features_in(rows_in(root)))
    assert fork_server.start(root).finish() == (undisturbed.n_features - n_held, n_held)
    assert rows_in(root) == undisturbed.rows
