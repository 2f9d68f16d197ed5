"""However work is split, every piece of it is in exactly one part."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from tasks.references import Part
from tasks.train_in_parts import _groups


@given(st.integers(0, 50), st.integers(1, 60))
def test_every_image_is_in_one_part_and_parts_are_nearly_equal(n_images: int, of: int) -> None:
    images = dict.fromkeys(range(n_images))
    taken = [list(Part(number=number, of=of).take(images)) for number in range(of)]
    assert list(chain.from_iterable(taken)) == list(images)
    sizes = {len(part) for part in taken}
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(1, 30))
def test_every_seed_of_a_method_that_learns_is_in_one_group(seeds: list[int], parts: int) -> None:
    groups = list(_groups(["zero-shot", "clip-adapter", "gda"], seeds, parts=parts))
    for method in ("clip-adapter", "gda"):
        found = [seed for name, some in groups if name == method for seed in some]
        assert sorted(found) == sorted(set(seeds))
    assert [name for name, _ in groups].count("zero-shot") == 1
    assert all(some for _, some in groups)
