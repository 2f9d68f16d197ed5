"""What may identify a feature, and what may become the name of a folder."""

from pathlib import Path

import numpy as np
import pytest

from feature_cache import FeatureStore, InvalidInputError

ENCODER = "0123456789abcdef" * 4
DIGEST = bytes(range(32))
FEATURES = np.ones((2, 3), np.float32)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path, ENCODER)


@pytest.mark.parametrize("digest", [b"", b"short", "a" * 64, b"\x01" * 33, None])
def test_a_digest_that_is_not_32_bytes_is_refused(store: FeatureStore, digest: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"digest 1 is .*, expected 32 bytes"):
        store.append_images([DIGEST, digest], FEATURES)
    with pytest.raises(InvalidInputError, match="digest 0"):
        store.missing_images([digest])
    assert not store.folder.exists()


@pytest.mark.parametrize("view", [-1, 32768])
def test_a_view_out_of_range_is_refused(store: FeatureStore, view: int) -> None:
    with pytest.raises(InvalidInputError, match="expected 0 to 32767"):
        store.append_images([DIGEST], FEATURES[:1], view=view)


@pytest.mark.parametrize("prompts", ["a lone string", ["\ud800"], [1], [b"bytes \xff"], [None]])
def test_prompts_that_are_no_text_are_refused(store: FeatureStore, prompts: list[str]) -> None:
    with pytest.raises(InvalidInputError, match=r"expected .*(text|strings)"):
        store.missing_prompts(prompts)


@pytest.mark.parametrize(
    "encoder", ["", "..", "../../etc", "ABCDEF01", "0123456", "a" * 65, "01234567\n", "0123/567"]
)
def test_a_fingerprint_that_is_not_hexadecimal_never_becomes_a_path(
    tmp_path: Path, encoder: str
) -> None:
    with pytest.raises(InvalidInputError, match="lower-case hexadecimal"):
        FeatureStore(tmp_path, encoder)
