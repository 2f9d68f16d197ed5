"""The error family."""

import pickle
from pathlib import Path

import pytest

import feature_cache
from feature_cache import (
    CorruptFileError,
    FeatureCacheError,
    MissingFeaturesError,
    NewerFormatError,
    WrongKindError,
    WrongWidthError,
)

ERRORS = [
    CorruptFileError(Path("a.parquet"), "too short"),
    NewerFormatError(Path("a.parquet"), 2, 1),
    WrongKindError(Path("a.parquet"), "runs", "metrics"),
    MissingFeaturesError(1, 2, "ab" * 32),
    WrongWidthError("features are 4 wide"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_reaches_another_process_whole(error: FeatureCacheError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_every_error_is_of_the_family_and_of_a_built_in() -> None:
    names = [name for name in dir(feature_cache) if name.endswith("Error")]
    family = [getattr(feature_cache, name) for name in names if name != "FeatureCacheError"]
    assert len(family) == 17
    for error in family:
        assert issubclass(error, FeatureCacheError)
        assert issubclass(error, ValueError | LookupError | OSError)


def test_a_missing_feature_reads_as_a_sentence_though_it_is_a_key_error() -> None:
    error = MissingFeaturesError(2, 5, "ab" * 32)
    assert isinstance(error, KeyError)
    assert str(error).startswith("2 of 5 features are missing for encoder abababababab")
