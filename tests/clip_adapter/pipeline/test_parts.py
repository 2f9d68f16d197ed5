"""However work is split, every piece of it is in exactly one part."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import FewShotSplit
from clip_adapter.methods import create_method
from clip_adapter.pipeline.encode import Part
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.pipeline.train import _groups


@given(st.integers(0, 50), st.integers(1, 60))
def test_every_image_is_in_one_part_and_parts_are_nearly_equal(n_images: int, of: int) -> None:
    images = dict.fromkeys(range(n_images))
    taken = [list(Part(number=number, of=of).take(images)) for number in range(of)]
    assert list(chain.from_iterable(taken)) == list(images)
    sizes = {len(part) for part in taken}
    assert max(sizes) - min(sizes) <= 1


@given(
    st.lists(st.integers(0, 9), min_size=1, unique=True),
    st.lists(st.sampled_from([1, 2, 4]), min_size=1, unique=True),
    st.integers(1, 30),
)
def test_every_run_is_in_one_group_of_one_method(
    seeds: list[int], shots: list[int], parts: int
) -> None:
    methods = ("zero-shot", "clip-adapter", "gda")
    specs = [spec(name, k, seed) for name in methods for k in shots for seed in seeds]
    groups = list(_groups(specs, parts=parts))
    assert sorted(each.fingerprint for group in groups for each in group) == sorted(
        each.fingerprint for each in specs
    )
    assert all(groups)
    if parts > 1:
        assert all(len({each.method for each in group}) == 1 for group in groups)
    else:
        assert groups == [specs]


@given(st.sets(st.binary(min_size=32, max_size=32)), st.integers(1, 60))
def test_every_digest_is_in_one_part_whatever_other_images_there_are(
    digests: set[bytes], of: int
) -> None:
    parts = [Part(number=number, of=of) for number in range(of)]
    taken = [part.take_by_digest(dict.fromkeys(digests)) for part in parts]
    assert sorted(chain.from_iterable(taken)) == sorted(digests)
    for digest in digests:
        alone = [digest in part.take_by_digest({digest: None}) for part in parts]
        assert alone == [digest in part for part in taken]


def test_where_nothing_is_to_do_there_is_no_group() -> None:
    assert list(_groups([], parts=1)) == list(_groups([], parts=7)) == []


def spec(method: str, shots: int, seed: int) -> RunSpec:
    none = np.zeros(0, dtype=np.int64)
    return RunSpec(
        method=create_method(method),
        split=FewShotSplit(shots, seed, train_rows=none, val_rows=none),
        split_fingerprint="split",
        settings_fingerprint="settings",
        fingerprint=f"{method} {shots} {seed}",
    )
