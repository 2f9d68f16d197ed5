"""Every error of the project survives pickling: workers and thread pools hand them on."""

import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_adapter.errors import ClipAdapterError, UnknownNameError
from feature_cache import CorruptFileError, FeatureCacheError, ObjectPath
from feature_cache.exchange import InvalidImportError

WITH_ARGUMENTS = {
    CorruptFileError: CorruptFileError(ObjectPath("s3://bucket", "a.parquet"), "it is cut short"),
    InvalidImportError: InvalidImportError(Path("a.npz"), "it is cut short"),
    UnknownNameError: UnknownNameError("dataset", "eurosta", ["digits", "eurosat"]),
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
