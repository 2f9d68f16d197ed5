"""`extract` of one part of the images: no scheduler, no state, and the union is that of a single run."""

import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from extractions import Extraction, ForkServer
from fork_server import BATCH_SIZE
from states import features_in, refuse_unsound, rows_in

from clip_adapter import extract
from clip_adapter.errors import ParameterError
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.requests import ExtractRequest
from clip_adapter.runs import RequestStore
from feature_cache.errors import NotStoredError

PutPhotos = Callable[..., Path]
ExtractPart = Callable[..., EncodedDataset]


@pytest.fixture(name="extract_part")
def _extract_part(photos: Path, tiny_model: str, root: Path) -> ExtractPart:
    return partial(extract, f"imagefolder:{photos}", tiny_model, root=root)


def test_parts_add_up_to_a_single_run(
    extract_part: ExtractPart, root: Path, tmp_path: Path
) -> None:
    whole = extract_part(root=tmp_path / "whole")
    parts = [extract_part(part=f"{number}/4") for number in (3, 1, 4, 2)]
    assert sum(part.n_encoded for part in parts) == whole.n_encoded == 90
    assert [part.n_prompts_encoded for part in parts] == [0, whole.n_prompts_encoded, 0, 0]
    again = extract_part()
    assert (again.n_encoded, again.n_reused, again.n_prompts_encoded) == (0, 90, 0)
    assert features_in(rows_in(root)) == features_in(rows_in(tmp_path / "whole"))


def test_a_part_that_is_started_again_encodes_nothing(extract_part: ExtractPart) -> None:
    first, second = extract_part(part="2/3"), extract_part(part="2/3")
    assert (second.n_encoded, second.n_reused) == (0, first.n_encoded)


def test_a_part_says_what_is_left_to_others_and_the_last_one_records_the_request(
    extract_part: ExtractPart, root: Path
) -> None:
    first = extract_part(part="1/2")
    assert first.n_missing == 90 - first.n_encoded
    assert f"; {first.n_missing} images and prompts left to other parts" in first.summary
    with pytest.raises(NotStoredError, match="features"):
        first.to_arrow()
    requests = RequestStore(root)
    assert requests.history(first.dataset.name) == []
    second = extract_part(part="2/2")
    assert second.n_missing == 0
    assert "other parts" not in second.summary
    assert first.to_arrow().num_rows == 90
    assert len(requests.history(first.dataset.name)) == 1
    extract_part()  # the same request, and no part of it
    assert len(requests.history(first.dataset.name)) == 1


def test_photos_that_are_added_between_two_starts_move_no_other(
    extract_part: ExtractPart, photos: Path, put_photos: PutPhotos
) -> None:
    first = extract_part(part="1/2")
    put_photos(photos, "red", range(100, 110))
    second, third = extract_part(part="2/2"), extract_part(part="1/2")
    assert third.n_reused == first.n_encoded
    assert second.n_encoded + third.n_encoded + first.n_encoded == 100
    assert third.n_missing == 0


def test_the_command_says_what_is_left_to_other_parts(
    command: Callable[..., Any], photos: Path, tiny_model: str, root: Path
) -> None:
    where = ("extract", f"imagefolder:{photos}", "--model", tiny_model, "--root", root)
    first = json.loads(command(*where, "--part", "1/2", "--json").out)
    assert first["missing"] == 90 - first["encoded"]
    assert f"{first['missing']} images and prompts are left" in command(*where, "--part", "1/2").out
    assert "are left" not in command(*where, "--part", "2/2").out
    wrong = command(*where, "--part", "3/2")
    assert (wrong.code, wrong.out) == (1, "")
    assert "expected I/N with I from 1 to N" in wrong.err


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "1/0", "a/b", "1/9999", "-1/3", "1/3/2", ""])
def test_no_part_is_refused(part: str) -> None:
    with pytest.raises(ParameterError, match=r"part is .* expected I/N with I from 1 to N"):
        ExtractRequest.of(dataset="digits", part=part)


def test_a_part_is_not_divided_once_more() -> None:
    with pytest.raises(ParameterError, match="--parts is given together with --part"):
        ExtractRequest.of(dataset="digits", part="1/3", parts=2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_parts_killed_at_random_and_started_again_make_the_union_of_a_single_run(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """All run at once, each as on a machine of its own."""
    differences: dict[str, Any] = {"views": 9, "files_worth_merging": 99}
    n_features, _ = fork_server.start(tmp_path / "whole", **differences).finish()
    whole = rows_in(tmp_path / "whole")
    root, of, dice = tmp_path / "store", 20, random.Random(0)  # noqa: S311  # no secret

    def start(number: int) -> Extraction:
        return fork_server.start(root, part=(number, of), pause=1.0, **differences)

    running = {number: start(number) for number in range(of)}
    started, n_killed = list(running.values()), 0
    while running:
        number = dice.choice(list(running))
        time.sleep(dice.uniform(0, 0.3))
        if n_killed < 2 * of and running[number].kill():
            n_killed += 1
            running[number] = start(number)
            started.append(running[number])
        else:
            running.pop(number).finish()
        if n_killed % 8 == 0:
            refuse_unsound(root, whole)
    assert n_killed >= of
    assert rows_in(root) == whole
    assert sum(each.n_encoded() for each in started) <= n_features + n_killed * BATCH_SIZE
    assert fork_server.start(root, **differences).finish() == (0, n_features)
