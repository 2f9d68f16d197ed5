from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.errors import EncoderError
from flows.extract_features import extract_features

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_second_extraction_encodes_only_what_was_added(
    photos: Path, root: Path, tiny_model: str, put_photos: Callable[..., Path]
) -> None:
    first = extract_features(f"imagefolder:{photos}", tiny_model, root=str(root))
    put_photos(photos, "red", range(100, 105))
    second = extract_features(f"imagefolder:{photos}", tiny_model, root=str(root))
    assert (first.n_encoded, first.n_reused) == (90, 0)
    assert (second.n_encoded, second.n_reused) == (5, 90)


def test_everything_is_written_where_the_environment_says(
    photos: Path, tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ROOT", str(tmp_path / "elsewhere"))
    extract_features(f"imagefolder:{photos}", tiny_model)
    written = {path.name for path in (tmp_path / "elsewhere").iterdir()}
    assert written == {"datasets", "features", "runs"}
    runs = {path.name for path in (tmp_path / "elsewhere" / "runs").iterdir()}
    assert runs == {"extractions", "requests"}


def test_a_model_that_is_not_there_is_refused_before_anything_is_read(
    photos: Path, root: Path
) -> None:
    with pytest.raises(EncoderError):
        extract_features(f"imagefolder:{photos}", "local-dir:/nowhere", root=str(root))
    assert not root.exists()
