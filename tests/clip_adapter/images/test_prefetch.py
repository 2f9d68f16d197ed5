"""Pictures come in order, proven, and never many more than are wanted just now."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.images import (
    Geometry,
    ImageError,
    LoadedViews,
    UnreadableImageError,
    WantedViews,
    decode_image,
    loading,
    prefetch,
)

GEOMETRY = Geometry(size=(16, 16))


def wanted_from(folder: Path, views: tuple[int, ...] = (0,)) -> list[WantedViews]:
    return [
        WantedViews(
            path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).digest(), views
        )
        for path in sorted(folder.rglob("*.jpg"))
    ]


@pytest.mark.parametrize("processes", [0, 2])
def test_every_view_comes_in_order_and_as_the_geometry_makes_it(
    photos: Path, processes: int
) -> None:
    wanted = wanted_from(photos, views=(0, 2))
    loaded = list(prefetch(photos, wanted, geometry=GEOMETRY, processes=processes))
    assert [each.wanted for each in loaded] == wanted
    for each in loaded:
        picture = decode_image((photos / each.wanted.path).read_bytes())
        for pixels, view in zip(each.pixels, (0, 2), strict=True):
            digest = each.wanted.image_sha256
            expected = GEOMETRY.pixels(picture, image_sha256=digest, view=view)
            np.testing.assert_array_equal(pixels, expected)


def test_nothing_wanted_is_nothing_loaded(tmp_path: Path) -> None:
    assert list(prefetch(tmp_path, [], geometry=GEOMETRY)) == []


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b"other"), "its content is another"),
        (Path.unlink, "the file does not exist"),
    ],
)
def test_a_file_that_is_not_the_digested_one_is_named_with_the_reason(
    photos: Path, change: Callable[[Path], object], reason: str, processes: int
) -> None:
    wanted = wanted_from(photos)
    change(photos / "red" / "003.jpg")
    named = rf"red/003\.jpg.* is not the file that was indexed a moment ago: {reason}; run again"
    with pytest.raises(ImageError, match=named) as raised:
        list(prefetch(photos, wanted, geometry=GEOMETRY, processes=processes))
    assert raised.value.changed_file == "red/003.jpg"


def test_a_digested_file_that_is_decoded_no_more_is_named(photos: Path) -> None:
    (photos / "red" / "003.jpg").write_bytes(b"of a format that another Pillow knew")
    with pytest.raises(UnreadableImageError, match=r"red/003\.jpg.* begins with.*the Pillow that"):
        list(prefetch(photos, wanted_from(photos), geometry=GEOMETRY))


def test_what_is_loaded_ahead_is_bounded(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[WantedViews] = []
    monkeypatch.setattr(loading, "_load", lambda _, wanted, **__: noted(loaded, wanted))
    monkeypatch.setattr("os.cpu_count", lambda: 2)  # one thread
    coming = prefetch(photos, wanted_from(photos), geometry=GEOMETRY)
    next(coming)
    time.sleep(0.2)  # the thread would run on if it were not stopped
    assert len(loaded) <= loading.IMAGES_PER_CHUNK * loading.CHUNKS_AHEAD
    close(coming)


def test_whoever_stops_early_leaves_no_thread_behind(photos: Path) -> None:
    coming = prefetch(photos, wanted_from(photos), geometry=GEOMETRY)
    next(coming)
    close(coming)
    assert not [each for each in threading.enumerate() if each.name.startswith("load-images")]


def noted(loaded: list[WantedViews], wanted: WantedViews) -> LoadedViews:
    loaded.append(wanted)
    return LoadedViews(wanted, np.zeros((1, 16, 16, 3), np.uint8))


def close(coming: Iterator[LoadedViews]) -> None:
    getattr(coming, "close")()  # noqa: B009  # an iterator that is a generator
