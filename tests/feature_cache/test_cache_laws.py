"""Properties of a feature store after any history of writers."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_cache import FeatureStore
from feature_cache.feature_table import Features

ENCODER = "ab" * 32
DIGESTS = [bytes(32), bytes(31) + b"\x01", b"\xff" * 32] + [
    hashlib.sha256(bytes([number])).digest() for number in range(5)
]
digests = st.sampled_from(DIGESTS)
prompts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
histories = settings(max_examples=25, deadline=None)  # a disk that syncs keeps no deadline


def feature_of(key: bytes, view: int = 0) -> Features:
    """A fake encoder: every writer that encodes the same key makes the same feature."""
    digest = hashlib.sha256(key + bytes([view])).digest()
    return np.frombuffer(digest, np.uint8).astype(np.float32)


def encode(keys: list[bytes], view: int = 0) -> Features:
    return np.stack([feature_of(key, view) for key in keys])


batches = st.lists(
    st.tuples(st.lists(digests, min_size=1, max_size=6), st.integers(0, 2)), max_size=4
)


@histories
@given(batches=batches, wanted=st.lists(digests, max_size=8), view=st.integers(0, 2))
def test_what_is_not_missing_reads_as_the_encoder_said_it(
    batches: list[tuple[list[bytes], int]], wanted: list[bytes], view: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), ENCODER)
        for keys, written_view in batches:
            store.append_images(keys, encode(keys, written_view), view=written_view)
        written = {key for keys, each in batches if each == view for key in keys}
        missing = store.missing_images(wanted, view=view)
        assert missing == [key for key in dict.fromkeys(wanted) if key not in written]
        held = [key for key in wanted if key in written]
        if held:
            found = store.read_images(held, view=view)
            np.testing.assert_array_equal(found, encode(held, view))


@histories
@given(batches=st.lists(st.lists(prompts, min_size=1, max_size=5), min_size=1, max_size=3))
def test_any_prompts_read_back_in_any_order(batches: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), ENCODER)
        for batch in batches:
            store.append_prompts(batch, encode([prompt.encode() for prompt in batch]))
        wanted = [prompt for batch in reversed(batches) for prompt in reversed(batch)]
        assert store.missing_prompts(wanted) == []
        expected = encode([prompt.encode() for prompt in wanted])
        np.testing.assert_array_equal(store.read_prompts(wanted), expected)


@histories
@given(first=st.lists(digests, max_size=6), second=st.lists(digests, max_size=6))
def test_encoding_only_what_is_missing_completes_the_store(
    first: list[bytes], second: list[bytes]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), ENCODER)
        for wanted in (first, second):
            missing = store.missing_images(wanted)
            if missing:
                store.append_images(missing, encode(missing))
        assert store.missing_images([*first, *second]) == []
        assert store.statistics().n_images == len({*first, *second})
