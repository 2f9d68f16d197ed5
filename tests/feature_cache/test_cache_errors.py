"""The errors of the feature cache."""

import pickle
from pathlib import Path

import pytest

import feature_cache
from feature_cache import (
    CorruptFileError,
    FeatureCacheError,
    FeatureStore,
    MisplacedFileError,
    NotStoredError,
    raise_on_corruption,
)

ERRORS = [
    CorruptFileError(Path("a.parquet"), "too short"),
    MisplacedFileError("a.parquet belongs to 'pets'"),
    NotStoredError("1 of 2 features are missing"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_reaches_another_process_whole(error: FeatureCacheError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_every_error_is_of_the_family_and_of_a_built_in() -> None:
    names = [name for name in dir(feature_cache) if name.endswith("Error")]
    family = [getattr(feature_cache, name) for name in names if name != "FeatureCacheError"]
    assert len(family) == 7
    for error in family:
        assert issubclass(error, FeatureCacheError)
        assert issubclass(error, ValueError | LookupError | OSError)


def test_a_missing_feature_reads_as_a_sentence_though_it_is_a_key_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as raised:
        FeatureStore(tmp_path, "ab" * 32).read_images([bytes(32), bytes(31) + b"1"])
    assert str(raised.value).startswith("2 of 2 features are missing for encoder abababababab")


def test_a_former_name_is_accepted_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="MissingFeaturesError is now .*NotStoredError"):
        assert feature_cache.MissingFeaturesError is NotStoredError
    with pytest.warns(DeprecationWarning, match="refuse is now .*raise_on_corruption"):
        assert feature_cache.refuse is raise_on_corruption
    with pytest.raises(AttributeError, match="no attribute 'NoSuchError'"):
        _ = feature_cache.NoSuchError
