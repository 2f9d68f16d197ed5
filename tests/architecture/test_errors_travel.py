"""Every error of the project survives pickling: workers and thread pools hand them on."""

import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_adapter.datasets import NotEnoughImagesError
from clip_adapter.errors import ClipAdapterError, UnknownNameError
from clip_adapter.images import ChangedImageError
from feature_cache import FeatureCacheError
from feature_cache.errors import (
    CorruptFileError,
    MissingFeaturesError,
    NewerFormatError,
    WrongKindError,
    WrongOwnerError,
)
from feature_cache.exchange import (
    ForeignFileError,
    InvalidForeignFeaturesError,
    MissingArrayError,
    OversizedFileError,
    PickledArrayError,
)
from feature_cache.paths import ObjectPath

WITH_ARGUMENTS = {
    ChangedImageError: ChangedImageError("river/1.jpg", "/photos"),
    CorruptFileError: CorruptFileError(Path("a.parquet"), "it is cut short"),
    ForeignFileError: ForeignFileError(Path("a.npz"), "it is cut short"),
    InvalidForeignFeaturesError: InvalidForeignFeaturesError("flowers", "labels are floats"),
    MissingArrayError: MissingArrayError(Path("a.npz"), "it has no labels"),
    MissingFeaturesError: MissingFeaturesError(3, 9, "0123456789abcdef"),
    NewerFormatError: NewerFormatError(Path("a.parquet"), 2, 1),
    NotEnoughImagesError: NotEnoughImagesError("river", 3, 5, shots=4, fitting=(1, 2)),
    OversizedFileError: OversizedFileError(Path("a.npz"), "it declares too much"),
    PickledArrayError: PickledArrayError(Path("a.npz"), "names are pickled"),
    UnknownNameError: UnknownNameError("dataset", "eurosta", ["digits", "eurosat"]),
    WrongKindError: WrongKindError(Path("a.parquet"), "runs", "metrics"),
    WrongOwnerError: WrongOwnerError(ObjectPath("s3://bucket", "a.parquet"), "abc", "def"),
}
"""An example of every error that is made from more than its message."""


@pytest.fixture(scope="module", name="error_classes")
def _error_classes() -> list[type[Exception]]:
    for package in ("clip_adapter", "feature_cache", "tasks", "service"):
        _import_everything_below(package)
    return [*_family(ClipAdapterError), *_family(FeatureCacheError)]


def test_an_error_arrives_as_it_was_sent(error_classes: list[type[Exception]]) -> None:
    for kind in error_classes:
        sent = WITH_ARGUMENTS.get(kind) or kind("what is wrong")
        arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301  # our own bytes
        assert type(arrived) is kind
        assert str(arrived) == str(sent)
        assert vars(arrived) == vars(sent)


def test_an_error_is_also_one_that_python_knows(error_classes: list[type[Exception]]) -> None:
    own = {*error_classes, Exception, BaseException, object}
    alone = [kind for kind in error_classes if not set(kind.__mro__) - own]
    assert alone == [ClipAdapterError, FeatureCacheError]


def _import_everything_below(package: str) -> None:
    place = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(place, prefix=f"{package}."):
        importlib.import_module(module.name)


def _family(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)
