"""Headers of arrays: what is read, what is refused, and what is never allocated."""

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from feature_cache.exchange import InvalidImportError
from feature_cache.exchange.npy import map_npy, npy_bytes

GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
DATA = np.arange(6, dtype=np.float32).tobytes()


def put(path: Path, text: str, data: bytes = DATA, version: bytes = b"\1\0") -> Path:
    length = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    path.write_bytes(b"\x93NUMPY" + version + length + text.encode("latin-1") + data)
    return path


@pytest.mark.parametrize("version", [b"\1\0", b"\2\0"])
def test_both_plain_versions_are_read(tmp_path: Path, version: bytes) -> None:
    found = map_npy(put(tmp_path / "x.npy", GOOD, version=version))
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 5]])


@given(
    array=arrays.arrays(
        dtype=st.one_of(
            arrays.floating_dtypes(sizes=(16, 32, 64)),
            arrays.integer_dtypes(),
            arrays.unsigned_integer_dtypes(),
            arrays.boolean_dtypes(),
        ),
        shape=arrays.array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    order=st.sampled_from(["C", "F"]),
)
def test_whatever_numpy_saves_is_mapped_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, array: Any, order: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npy"
    array = np.asarray(array, order=order)
    np.save(path, array)
    found = map_npy(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_what_is_written_is_what_numpy_would_write(tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    assert npy_bytes(array) == (tmp_path / "x.npy").read_bytes()


def test_objects_are_never_written() -> None:
    with pytest.raises(ValueError, match="pickle"):
        npy_bytes(np.array([{}], dtype=object))


@pytest.mark.parametrize("description", ["'float32'", "'f4'", "'=f4'", "'single'"])
def test_a_plain_type_is_read_by_any_name_that_numpy_knows(
    tmp_path: Path, description: str
) -> None:
    found = map_npy(put(tmp_path / "x.npy", GOOD.replace("'<f4'", description)))
    assert found.dtype == np.float32


@pytest.mark.parametrize("length", [100, 10_001, 2**32 - 1])
def test_no_more_of_a_header_is_read_than_is_allowed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\2\0" + length.to_bytes(4, "little"))
    os.truncate(path, 2**33)  # sparse: it takes no room on the disk
    tracemalloc.start()
    with pytest.raises(InvalidImportError, match="the file cannot be read"):
        map_npy(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("description", ["'|O'", "'O'", "'O8'", "'<O'"])
def test_objects_are_never_read(tmp_path: Path, description: str) -> None:
    path = put(tmp_path / "x.npy", GOOD.replace("'<f4'", description))
    with pytest.raises(InvalidImportError, match="run code when they are read"):
        map_npy(path)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("'<f4'", "[('a', '<f4')]"),
        GOOD.replace("'<f4'", "[('a', '|O')]"),
        GOOD.replace("'<f4'", "('<f4', (3,))"),
        GOOD.replace("<f4", "f4,O"),
        GOOD.replace("<f4", "|V24"),
        GOOD.replace("<f4", "<M8[ns]"),
        GOOD.replace("<f4", "<c8"),
        GOOD.replace("<f4", "<f3"),
        GOOD.replace("<f4", "<U0"),
        GOOD.replace("'<f4'", "4"),
        GOOD.replace("(2, 3)", "(2, -3)"),
        GOOD.replace("(2, 3)", "(-2, -3)"),
        GOOD.replace("(2, 3)", "(2.0, 3)"),
        GOOD.replace("(2, 3)", "(True, 6)"),
        GOOD.replace("(2, 3)", "[2, 3]"),
        GOOD.replace("(2, 3)", "6"),
        GOOD.replace("(2, 3)", "(1, 1, 2, 3)"),
        GOOD.replace("(2, 3)", "__import__('os').getpid()"),
        GOOD.replace("'shape': (2, 3)", "'shape': (2, 3), 'more': 1"),
        GOOD.replace("'shape': (2, 3), ", ""),
        "[1, 2]",
        "{1",
        "(" * 5000,
        "-" * 9000 + "1",
        "",
        " " * 20_000,
    ],
)
def test_a_header_with_tricks_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidImportError, match=r"x\.npy cannot be imported") as refused:
        map_npy(put(tmp_path / "x.npy", text))
    assert "pickled" not in refused.value.reason
    assert "at most" not in refused.value.reason


def test_text_without_width_is_refused_even_without_data(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match="has element type <U0"):
        map_npy(put(tmp_path / "x.npy", GOOD.replace("<f4", "<U0"), data=b""))


@pytest.mark.parametrize("version", [b"\0\0", b"\3\0", b"\xff\xff"])
def test_another_version_is_refused(tmp_path: Path, version: bytes) -> None:
    with pytest.raises(InvalidImportError, match="version 1 or 2"):
        map_npy(put(tmp_path / "x.npy", GOOD, version=version))


def test_a_huge_shape_is_refused_without_allocating_it(tmp_path: Path) -> None:
    path = put(tmp_path / "x.npy", GOOD.replace("(2, 3)", "(1000000000000, 1000000000000)"))
    tracemalloc.start()
    with pytest.raises(InvalidImportError, match="divide it and import the parts"):
        map_npy(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # the header and the message; the array would be 4e24


def test_the_limit_can_be_chosen(tmp_path: Path) -> None:
    path = put(tmp_path / "x.npy", GOOD)
    assert map_npy(path, max_bytes=24).shape == (2, 3)
    with pytest.raises(InvalidImportError, match="declares 24 bytes, at most 23 are taken"):
        map_npy(path, max_bytes=23)


@pytest.mark.parametrize("length", [0, 5, 8, 9, 10, 40, -1])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, length: int) -> None:
    path = put(tmp_path / "x.npy", GOOD)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InvalidImportError, match=r"x\.npy"):
        map_npy(path)


def test_bytes_after_the_array_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match="25 bytes of data, its header declares 24"):
        map_npy(put(tmp_path / "x.npy", GOOD, DATA + b"!"))
