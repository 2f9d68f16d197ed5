"""View 0 is open_clip's own; the pixels of every view are the same anywhere."""

import hashlib
import pickle
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clip_adapter.errors import UnknownNameError
from clip_adapter.images import Geometry, ImageError, Interpolation, ResizeMode
from clip_adapter.images.views import MAX_RESIZED_PIXELS

DIGEST = hashlib.sha256(b"a picture").digest()
SQUARE = Geometry(size=(32, 32))
sides = st.integers(1, 90)
geometries = st.builds(
    Geometry,
    size=st.one_of(
        st.integers(1, 48).map(lambda side: (side, side)),
        st.tuples(st.integers(1, 48), st.integers(1, 48)),
    ),
    resize_mode=st.sampled_from(get_args(ResizeMode)),
    interpolation=st.sampled_from(get_args(Interpolation)),
    fill_color=st.integers(0, 255),
)


def drawing(height: int, width: int) -> Image.Image:
    """Waves of other lengths in every channel, from integers alone."""
    rows, columns = np.mgrid[:height, :width]
    waves = (rows * columns * 7, rows * 5 + columns * 11, rows * rows + columns * 3)
    return Image.fromarray(np.stack([wave % 256 for wave in waves], axis=-1).astype(np.uint8))


def by_open_clip(geometry: Geometry, picture: Image.Image, *, size: Any = None) -> np.ndarray:
    """What open_clip makes of it, before it becomes a tensor."""
    config = PreprocessCfg(
        size=size or geometry.size,
        resize_mode=geometry.resize_mode,
        interpolation=geometry.interpolation,
        fill_color=geometry.fill_color,
    )
    *steps, _, _ = image_transform_v2(config, is_train=False).transforms
    for step in steps:
        picture = step(picture)
    return np.array(picture)


def vanishes(geometry: Geometry, height: int, width: int) -> bool:
    """A side would be less than half a pixel: open_clip fails."""
    ratio = max(height / geometry.size[0], width / geometry.size[1])
    return geometry.resize_mode == "longest" and round(min(height, width) / ratio) == 0


@given(geometry=geometries, height=sides, width=sides)
def test_view_0_is_what_open_clip_makes_of_a_picture(
    geometry: Geometry, height: int, width: int
) -> None:
    picture = drawing(height, width)
    found = geometry.pixels(picture, image_sha256=DIGEST)
    assert found.shape == (*geometry.size, 3)
    assert found.dtype == np.uint8
    if not vanishes(geometry, height, width):
        np.testing.assert_array_equal(found, by_open_clip(geometry, picture))


@pytest.mark.parametrize("mode", get_args(ResizeMode))
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (480, 641), (1, 700), (900, 2), (1023, 768)])
def test_view_0_at_the_size_of_clip_is_what_open_clip_makes_of_a_picture(
    mode: ResizeMode, size: tuple[int, int]
) -> None:
    geometry, picture = Geometry(size=(224, 224), resize_mode=mode), drawing(*size)
    if not vanishes(geometry, *size):
        np.testing.assert_array_equal(
            geometry.pixels(picture, image_sha256=DIGEST),
            by_open_clip(geometry, picture, size=224),
        )


def test_a_side_that_would_vanish_keeps_one_pixel() -> None:
    geometry = Geometry(size=(32, 32), resize_mode="longest", fill_color=9)
    pixels = geometry.pixels(Image.new("RGB", (400, 1), "white"), image_sha256=DIGEST)
    assert set(np.unique(pixels)) == {9, 255}
    assert (pixels == 255).all(axis=(1, 2)).sum() == 1


def test_a_ribbon_needs_the_room_of_the_result_and_shows_the_same() -> None:
    length = 3_000
    assert 224 * 224 * length > MAX_RESIZED_PIXELS
    ribbon = drawing(1, length)
    pixels = Geometry(size=(224, 224)).pixels(ribbon, image_sha256=DIGEST)
    # Cutting away what is far from the middle first changes no pixel of the middle.
    middle = ribbon.crop((length // 2 - 20, 0, length // 2 + 20, 1))
    expected = by_open_clip(Geometry(size=(224, 224)), middle)
    # One grey level: the box is rounded at another place.
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_a_picture_is_not_changed_by_being_looked_at() -> None:
    picture = drawing(20, 30)
    before = picture.tobytes()
    for view in (0, 1, 10_001):
        SQUARE.pixels(picture, image_sha256=DIGEST, view=view)[:] = 0
    assert picture.tobytes() == before


def test_a_geometry_travels_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(SQUARE)) == SQUARE  # noqa: S301  # our own bytes


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"resize_mode": "shortst"}, "resize mode 'shortst': did you mean 'shortest'"),
        ({"interpolation": "bicubi"}, "interpolation 'bicubi': did you mean 'bicubic'"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(settings: dict[str, Any], kind: str) -> None:
    with pytest.raises(UnknownNameError, match=kind):
        Geometry(**{"size": (8, 8), **settings})


@pytest.mark.parametrize(
    "settings", [{"size": (0, 8)}, {"size": (8, -1)}, {"fill_color": -1}, {"fill_color": 256}]
)
def test_a_view_of_nothing_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="expected"):
        Geometry(**{"size": (8, 8), **settings})


@pytest.mark.parametrize("view", [-1, 10_000, 20_000, 32_767, -10_001])
def test_a_view_outside_the_two_ranges_is_refused(view: int) -> None:
    with pytest.raises(ImageError, match=f"no training view {view}"):
        SQUARE.pixels(drawing(8, 8), image_sha256=DIGEST, view=view)


def test_half_a_digest_is_refused() -> None:
    with pytest.raises(ImageError, match="has 16 bytes; expected 32"):
        SQUARE.pixels(drawing(8, 8), image_sha256=DIGEST[:16], view=1)


GOLDEN = {
    (64, 64, 0): "2e1242750728da401336b8ae9a7ac3f927c3e65cc6e6b4895c160efd5124e901",
    (64, 64, 1): "e932df9d2eace8957a2b298cc5398798f347ff7a50ff114bced7383fb6f64e4d",
    (64, 64, 2): "4e9feb433eac547adb989e657099dd27d73d6fe8cba44e78af23cdd11be2c832",
    (64, 64, 9_999): "b2a9235f26d649f1c6f6fbae5f82b1043e31c286c3184aa473b3bdb89a9c39c0",
    (64, 64, 10_001): "d0dbaab564eb0f76dd478b0d71f4fbd0fa76a9f2e8aa1efe6c53e9b1a0e3e4f8",
    (64, 64, 19_999): "24315475d94885798e52a87ad1dcc0bd8eb007e8983a5140963fb291c64eac01",
    (37, 111, 0): "40541849e6aa09e83070f8fd1225bb1990d3a44dad7d8f9597c5b7af7271efbd",
    (37, 111, 1): "cf78b03f076e19ec29e6d9c1d7485e9720420c52f33b5008c2648e4600085942",
    (37, 111, 10_002): "cf78b03f076e19ec29e6d9c1d7485e9720420c52f33b5008c2648e4600085942",
    (3, 2, 7): "67f2cad5f0876433f965269d0f71a94d0977f563ac60fe9f1729f524abf33c0a",
    (1, 200, 10_001): "156e33642dcf493c21d46048f2ae15a8b011343ce781a67302051d8bd495a77a",
}


@pytest.mark.parametrize(("height", "width", "view"), GOLDEN)
def test_the_pixels_of_a_view_stay_what_they_were(height: int, width: int, view: int) -> None:
    # If these change, every stored view is another picture: raise the encoders' FORMAT_VERSION.
    picture = drawing(height, width)
    digest = hashlib.sha256(picture.tobytes()).digest()
    pixels = Geometry(size=(48, 48)).pixels(picture, image_sha256=digest, view=view)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == GOLDEN[height, width, view]
