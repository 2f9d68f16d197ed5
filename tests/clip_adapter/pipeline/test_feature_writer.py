"""Views become full batches, and features are stored soon after they exist."""

import hashlib
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clip_adapter.errors import EncoderError
from clip_adapter.images import LoadedViews, WantedViews
from clip_adapter.pipeline import feature_writer
from clip_adapter.pipeline.feature_writer import FeatureWriter
from feature_cache import FeatureStore, list_files

ENCODER = "ab" * 32


class FakeEncoder:
    """Says of a view its mean colour and a one, and remembers how large its batches were."""

    def __init__(self, batch_size: int, *, fails_at: int | None = None) -> None:
        self.batch_size, self.fails_at = batch_size, fails_at
        self.sizes: list[int] = []
        self.spoils: float | None = None
        self.name = "fake"

    def encode_images(self, pixels: Any) -> Any:
        if len(self.sizes) == self.fails_at:
            raise RuntimeError("the encoder broke down")
        self.sizes.append(len(pixels))
        colours = pixels.reshape(len(pixels), -1, 3).mean(axis=1)
        features = np.pad(colours, ((0, 0), (0, 1)), constant_values=1).astype(np.float32)
        features[features == self.spoils] = np.nan
        return features


@pytest.fixture
def store(root: Path) -> FeatureStore:
    return FeatureStore(root, ENCODER)


def digest(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def loaded(number: int, views: tuple[int, ...] = (0,)) -> LoadedViews:
    pixels = [np.full((2, 2, 3), number + view, np.uint8) for view in views]
    return LoadedViews(WantedViews(f"{number}.png", digest(number), views), np.stack(pixels))


def write(store: FeatureStore, encoder: Any, pieces: list[LoadedViews]) -> list[float]:
    advanced: list[float] = []
    with FeatureWriter(encoder, store, advanced.append) as writer:
        for piece in pieces:
            writer.add(piece)
    return advanced


def test_batches_are_full_however_many_views_an_image_has(store: FeatureStore) -> None:
    encoder = FakeEncoder(4)
    advanced = write(store, encoder, [loaded(number, (0, 1, 2)) for number in range(3)])
    assert encoder.sizes == [4, 4, 1]
    assert sum(advanced) == 9


def test_every_view_is_stored_under_its_own_key(store: FeatureStore) -> None:
    write(store, FakeEncoder(4), [loaded(number, (0, 7)) for number in range(5)])
    for view in (0, 7):
        features = store.read_images([digest(number) for number in range(5)], view=view)
        np.testing.assert_array_equal(features[:, 0], np.arange(5) + view)


def test_a_batch_that_took_long_is_stored_at_once(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 3))
    monkeypatch.setattr(feature_writer, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    write(store, FakeEncoder(2), [loaded(number) for number in range(6)])
    assert len(list_files(store.folder / "image")) == 3


def test_quick_batches_share_a_file(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_writer, "time", SimpleNamespace(monotonic=lambda: 0.0))
    write(store, FakeEncoder(2), [loaded(number) for number in range(6)])
    assert len(list_files(store.folder / "image")) == 1


def test_no_file_grows_beyond_its_rows(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_writer, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(feature_writer, "ROWS_A_FILE", 4)
    write(store, FakeEncoder(2), [loaded(number) for number in range(8)])
    assert len(list_files(store.folder / "image")) == 2


def test_what_was_encoded_before_a_failure_is_stored(store: FeatureStore) -> None:
    encoder = FakeEncoder(2, fails_at=2)
    with pytest.raises(RuntimeError, match="broke down"):
        write(store, encoder, [loaded(number) for number in range(6)])
    assert store.missing_images([digest(number) for number in range(6)]) == [digest(4), digest(5)]


def test_an_image_that_makes_no_number_is_named_and_spoils_no_other(store: FeatureStore) -> None:
    encoder = FakeEncoder(4)
    encoder.spoils = 2.0
    with pytest.raises(EncoderError, match=r"1 images, the first is '2\.png'"):
        write(store, encoder, [loaded(number) for number in range(6)])
    missing = store.missing_images([digest(number) for number in range(4)])
    assert missing == [digest(2)]


def test_nothing_to_encode_writes_nothing(store: FeatureStore) -> None:
    write(store, FakeEncoder(2), [])
    assert not store.folder.exists()


def test_interrupted_at_any_line_it_stores_no_feature_under_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_writer, "WRITE_EVERY_SECONDS", 0.0)
    pieces = [loaded(number, (0, 7)) for number in range(5)]
    for line in count(1):
        store = FeatureStore(tmp_path / f"{line}", ENCODER)
        if not interrupted_at(line, lambda store=store: write(store, FakeEncoder(3), pieces)):
            break
        for view in (0, 7):
            missing = store.missing_images([digest(number) for number in range(5)], view=view)
            held = [number for number in range(5) if digest(number) not in missing]
            features = store.read_images([digest(number) for number in held], view=view)
            np.testing.assert_array_equal(features[:, :1].ravel(), np.array(held) + view)
    assert line > 50


def interrupted_at(line: int, function: Callable[[], object]) -> bool:
    """Whether Ctrl-C came: at the n-th line that runs in the writer's module."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != feature_writer.__file__:
            return None
        left -= event == "line"
        if event == "line" and left == 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
