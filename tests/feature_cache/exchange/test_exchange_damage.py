"""Damaged files: one typed error that names the file, or features that keep to every rule."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from exchange_samples import assert_same, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_cache import FeatureCacheError
from feature_cache.exchange import (
    InvalidImportError,
    LabelledFeatures,
    read_clip_retrieval,
    read_npy,
    read_npz,
    read_safetensors,
    write_clip_retrieval,
    write_npy,
    write_npz,
    write_safetensors,
)
from feature_cache.exchange.errors import errors_about

Read = Callable[[], LabelledFeatures]
Sound = dict[str, tuple[Path, Read]]


@pytest.fixture(scope="module", name="sound")
def _sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """A file of each sort that can be damaged, and how it is read."""
    folder = tmp_path_factory.mktemp("sound")
    archive = write_npz(folder / "x.npz", sample())
    matrix = write_npy(folder / "x.npy", sample())
    tensors = write_safetensors(folder / "x.safetensors", sample())
    shards = write_clip_retrieval(folder / "x", sample())
    return {
        "archive": (archive, lambda: read_npz(archive)),
        "matrix": (matrix, lambda: read_npy(matrix)),
        "labels": (folder / "x_labels.csv", lambda: read_npy(matrix)),
        "tensors": (tensors, lambda: read_safetensors(tensors)),
        "shard": (shards / "img_emb" / "img_emb_0.npy", lambda: read_clip_retrieval(shards)),
        "metadata": (
            shards / "metadata" / "metadata_0.parquet",
            lambda: read_clip_retrieval(shards),
        ),
    }


KINDS = ("archive", "matrix", "labels", "tensors", "shard", "metadata")


def read_damaged(sound: Sound, kind: str, damage: Callable[[bytearray], object]) -> object:
    """What a reader returns or raises for the damaged file, which is then restored."""
    path, read = sound[kind]
    kept = shutil.copy(path, path.with_suffix(".kept"))
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    found: object
    try:
        found = read()
    except FeatureCacheError as error:
        found = error
    finally:
        kept.replace(path)
    if isinstance(found, FeatureCacheError):
        named = vars(found).get("source") or vars(found)["path"]
        assert named in {path, *path.parents[:2], sound["matrix"][0]}
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_an_error_or_does_no_harm(
    sound: Sound, kind: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, 8 * sound[kind][0].stat().st_size - 1))

    def flip(content: bytearray) -> None:
        content[at // 8] ^= 1 << at % 8

    found = read_damaged(sound, kind, flip)
    # An archive has checksums: what is read after all is what was written.
    if kind == "archive" and isinstance(found, LabelledFeatures):
        assert_same(found, sample(), but="source")


def test_an_optional_array_whose_name_is_damaged_is_not_just_missed(sound: Sound) -> None:
    def misspell(content: bytearray) -> None:
        name = b"text_features.npy"
        content[content.rindex(name) + 2] ^= 1  # in the directory at the end

    assert isinstance(read_damaged(sound, "archive", misspell), FeatureCacheError)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_file_cut_short_is_an_error(sound: Sound, kind: str, data: st.DataObject) -> None:
    size = sound[kind][0].stat().st_size
    # A table cut within its last cell is a table still.
    end = data.draw(st.integers(0, size - (40 if kind == "labels" else 1)))
    found = read_damaged(sound, kind, lambda content: content.__delitem__(slice(end, None)))
    assert isinstance(found, FeatureCacheError)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), noise=st.binary(min_size=1, max_size=64))
def test_noise_in_a_file_is_an_error_or_does_no_harm(
    sound: Sound, kind: str, data: st.DataObject, noise: bytes
) -> None:
    at = data.draw(st.integers(0, sound[kind][0].stat().st_size))

    def overwrite(content: bytearray) -> None:
        content[at : at + len(noise)] = noise

    read_damaged(sound, kind, overwrite)


@pytest.mark.parametrize("kind", KINDS)
@given(noise=st.binary(max_size=200))
@settings(max_examples=30, deadline=None)
def test_a_file_of_noise_is_an_error(sound: Sound, kind: str, noise: bytes) -> None:
    def replace(content: bytearray) -> None:
        content[:] = noise

    assert isinstance(read_damaged(sound, kind, replace), FeatureCacheError)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MemoryError("Unable to allocate 4 TiB"), "close other programs"),
        (PermissionError(13, "Permission denied"), "change its permissions"),
        (ValueError("a header of nonsense"), "copy or write it anew"),
    ],
)
def test_what_is_no_damage_is_not_called_so(tmp_path: Path, error: Exception, advice: str) -> None:
    with pytest.raises(InvalidImportError, match=advice), errors_about(tmp_path / "x.npz"):
        raise error


READ_WITH_DAMAGED_FOOTERS = """
import sys
from pathlib import Path
from feature_cache import FeatureCacheError
from feature_cache.exchange import read_clip_retrieval
folder = Path(sys.argv[1])
path = folder / "metadata" / "metadata_0.parquet"
sound = path.read_bytes()
footer = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
refused = 0
for bit in range(8 * footer, 8 * len(sound), 5):
    content = bytearray(sound)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        read_clip_retrieval(folder)
    except FeatureCacheError:
        refused += 1
print(refused)
"""


@pytest.mark.slow
def test_no_damaged_footer_ends_the_process(tmp_path: Path) -> None:
    """As pyarrow does where it is asked for a column whose statistics contradict themselves."""
    write_clip_retrieval(tmp_path / "x", sample())
    done = subprocess.run(
        [sys.executable, "-c", READ_WITH_DAMAGED_FOOTERS, tmp_path / "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
