"""Two processes that extract the same dataset at once both finish, and not a row is lost."""

import random
import time
from itertools import count
from pathlib import Path

import pytest
from extractions import ForkServer, Undisturbed
from fork_server import BATCH_SIZE
from states import damaged_files, features_in, refuse_unsound, rows_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_two_at_once_both_finish_with_every_row(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    """They merge each other's files: a file may vanish between listing and reading it."""
    dice = random.Random(1)  # noqa: S311  # no secret
    for number in range(12):
        root = tmp_path / f"{number}"
        first = fork_server.start(root)
        time.sleep(dice.uniform(0, 0.2))
        second = fork_server.start(root)
        counts = [first.finish(), second.finish()]
        assert [sum(count) for count in counts] == [undisturbed.n_features] * 2
        assert damaged_files(root) == []
        assert rows_in(root) == undisturbed.rows


def test_one_of_two_may_be_killed(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    dice = random.Random(2)  # noqa: S311  # no secret
    most, kills = undisturbed.n_features // BATCH_SIZE, 0
    for number in range(12):
        root = tmp_path / f"{number}"
        victim, survivor = fork_server.start(root, pause=0.01), fork_server.start(root)
        victim.wait_for("encoded", times=dice.randint(1, most))
        kills += victim.kill()
        survivor.finish()
        assert refuse_unsound(root, undisturbed.rows) == undisturbed.rows
    assert kills > 0


def test_one_that_merges_all_the_time_takes_no_row_from_the_other(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    """On a busy machine one other may be all that ends beside the slow one; then once more."""
    others, roots = 0, (tmp_path / f"{number}" for number in count())
    while others < 3:
        root = next(roots)
        slow = fork_server.start(root, pause=0.3)
        while not slow.has_ended():
            fork_server.start(root, files_worth_merging=2).finish()
            others += 1
        slow.finish()
        assert refuse_unsound(root, undisturbed.rows) == undisturbed.rows
        assert len(features_in(rows_in(root))) == undisturbed.n_features
