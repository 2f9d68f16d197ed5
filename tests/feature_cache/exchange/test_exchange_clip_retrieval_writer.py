"""clip-retrieval's folder as it is written: as its index wants to read it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from exchange_samples import assert_same, sample

from feature_cache import InvalidInputError
from feature_cache.exchange import LabelledFeatures, read_clip_retrieval, write_clip_retrieval


def test_the_folder_is_laid_out_as_clip_retrieval_does_it(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "out", sample(23), rows_per_shard=2)
    names = sorted(path.name for path in (folder / "img_emb").iterdir())
    assert names == [f"img_emb_{number:02d}.npy" for number in range(12)]
    rows = np.load(folder / "img_emb" / "img_emb_03.npy", allow_pickle=False)
    # Half precision keeps a norm to a thousandth.
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-3)
    assert rows.dtype == np.float16
    table = pq.read_table(folder / "metadata" / "metadata_03.parquet")
    assert table.schema.names == ["image_path", "caption", "label", "class_name", "split", "sha256"]
    assert table.column("caption").to_pylist() == ["Annual Crop", "Forest"]


def test_an_id_that_is_no_digest_is_not_written_as_one(tmp_path: Path) -> None:
    features = sample(image_sha256=None)
    folder = write_clip_retrieval(tmp_path / "out", features, keep_precision=True)
    table = pq.read_table(folder / "metadata" / "metadata_0.parquet")
    assert "sha256" not in table.schema.names
    assert read_clip_retrieval(folder).image_sha256 == features.image_sha256


def test_a_row_of_zeros_stays_one(tmp_path: Path) -> None:
    zeros = sample(features=np.zeros((6, 4), np.float32), image_sha256=None)
    folder = write_clip_retrieval(tmp_path / "out", zeros)
    assert not read_clip_retrieval(folder).features.any()


@pytest.mark.parametrize("value", [1e30, 1e-30])
def test_what_half_precision_cannot_hold_is_normalised_before_it_is_rounded(
    tmp_path: Path, value: float
) -> None:
    features = sample(features=np.full((6, 4), value, np.float32), image_sha256=None)
    folder = write_clip_retrieval(tmp_path / "out", features)
    np.testing.assert_array_equal(read_clip_retrieval(folder).features, 0.5)


def written(folder: Path, features: LabelledFeatures) -> Path:
    return write_clip_retrieval(folder, features, keep_precision=True, rows_per_shard=2)


def test_a_folder_is_replaced_only_when_allowed_and_leaves_nothing_of_the_old(
    tmp_path: Path,
) -> None:
    folder = written(tmp_path / "out", sample(23))
    with pytest.raises(InvalidInputError, match="out exists"):
        written(folder, sample())
    write_clip_retrieval(folder, sample(), keep_precision=True, rows_per_shard=4, overwrite=True)
    found = read_clip_retrieval(folder)
    assert_same(found, sample(), but="source text_features logit_scale logit_bias")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_holds_anything_else_is_never_replaced(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", sample())
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInputError, match=r"thesis\.tex"):
        write_clip_retrieval(folder, sample(), overwrite=True)
    assert (folder / "thesis.tex").exists()
