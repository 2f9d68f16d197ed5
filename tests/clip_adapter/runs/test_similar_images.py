"""Similar images in SQL: a macro over stored features, which nothing else reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clip_adapter.runs import RunStoreError, connect, query
from feature_cache import CorruptFileError, FeatureStore, parquet_file
from feature_cache.feature_table import Features

ENCODER, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
DIGESTS = [bytes([number]) * 32 for number in range(40)]
ASKED = f"FROM similar_images('{DIGESTS[7].hex()}', '{ENCODER}', top := $top)"


def vectors(width: int) -> Features:
    return np.random.default_rng(width).normal(size=(len(DIGESTS), width)).astype(np.float32)


@pytest.fixture(name="features")
def _features(tmp_path: Path) -> Features:
    """Features in two files that overlap, beside an encoder of another width and precision."""
    features = vectors(8)
    features[3], features[9] = 0, features[7]
    store = FeatureStore(tmp_path, ENCODER)
    store.append_images(DIGESTS[:25], features[:25])
    store.append_images(DIGESTS[20:], features[20:])
    store.append_images(DIGESTS[:5], -features[:5], view=1)
    FeatureStore(tmp_path, OTHER).append_images(DIGESTS, vectors(3).astype(np.float16))
    return features


def test_the_nearest_images_are_those_of_numpy(tmp_path: Path, features: Features) -> None:
    wide = np.delete(features.astype(np.float64), 3, axis=0)  # is zero
    digests = DIGESTS[:3] + DIGESTS[4:]
    cosines = wide @ wide[6] / np.linalg.norm(wide, axis=1) / np.linalg.norm(wide[6])
    best = sorted(range(len(wide)), key=lambda row: (-round(cosines[row], 12), row))
    for top in (1, 5, 100):
        found = query(tmp_path, ASKED, {"top": top}).to_pydict()
        assert found["image_sha256"] == [digests[row].hex() for row in best[:top]]
        np.testing.assert_allclose(found["cosine"], cosines[best[:top]], atol=1e-12)


@pytest.mark.usefixtures("features")
def test_an_encoder_of_another_precision_is_asked_by_its_fingerprint(tmp_path: Path) -> None:
    asked = "FROM similar_images($digest, encoder := $encoder)"
    found = query(tmp_path, asked, {"digest": DIGESTS[2].hex(), "encoder": OTHER})
    assert found.num_rows == 20
    assert found.column("image_sha256")[0].as_py() == DIGESTS[2].hex()


@pytest.mark.usefixtures("features")
def test_no_file_of_features_is_read_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def read_as_parquet(path: Path, *, kind: str, **options: Any) -> pa.Buffer:
        read.append(kind)
        return parquet_file.read_as_parquet(path, kind=kind, **options)

    monkeypatch.setattr("clip_adapter.runs.verified_files.read_as_parquet", read_as_parquet)
    with connect(tmp_path) as database:
        for view in ("leaderboard", "images", "duckdb_functions()"):
            database.query(f"FROM {view} LIMIT 1")
        assert "image-features" not in read
        database.query(ASKED, {"top": 1})
        assert "image-features" in read


@pytest.mark.usefixtures("features")
def test_a_damaged_file_is_named_by_what_reads_it_alone(tmp_path: Path) -> None:
    path = min((tmp_path / "features" / ENCODER / "image").iterdir())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with connect(tmp_path) as database:
        with pytest.raises(CorruptFileError, match=path.name):
            database.query(ASKED, {"top": 1})
        assert database.query("FROM leaderboard").num_rows == 0
        other = f"FROM similar_images('{DIGESTS[0].hex()}', '{OTHER}')"
        assert database.query(other).num_rows == 20


@pytest.mark.usefixtures("features")
def test_what_is_not_stored_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError, match=r"no features of encoder 'abc' .* FROM extractions"):
        query(tmp_path, "FROM similar_images('00', 'abc')")
    with pytest.raises(RunStoreError, match=r"no image of the digest f{64} has a feature of this"):
        query(tmp_path, f"FROM similar_images('{'f' * 64}', '{ENCODER}')")
