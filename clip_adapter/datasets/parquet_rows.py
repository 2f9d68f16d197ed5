"""Rows of some columns of a Parquet file that is not trusted, with bounded memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from clip_adapter.errors import DatasetError

MAX_COLUMN_BYTES: Final = 2**30
"""Largest size of one column of a row group, decompressed."""
_ROWS = 10_000  # of a batch


def open_parquet(file: BinaryIO, *, what: str) -> Any:
    """The `pyarrow.parquet.ParquetFile` in an open file, of which the metadata are read.

    Raises:
        DatasetError: the file is damaged or no Parquet file.
    """
    from pyarrow import parquet  # noqa: PLC0415  # takes 0.1 s

    with damage_raised(what):
        return parquet.ParquetFile(file)


def parquet_rows(
    file: BinaryIO, columns: Mapping[str, str], *, what: str, longest: int
) -> Iterator[dict[str, Any]]:
    """Yield each row as our names of its cells and their values.

    Args:
        file: an open Parquet file.
        columns: column of the file for each of our names.
        what: name of the file in messages.
        longest: largest number of bytes of a text; longer ones are cut to one byte more.

    Raises:
        DatasetError: a column is not of text or numbers or is too large, or the file is damaged.
    """
    from pyarrow import compute, parquet, types  # noqa: PLC0415  # takes 0.1 s

    opened = open_parquet(file, what=what)
    _check_sizes(opened, columns, what=what)
    texts = []
    for name in set(columns.values()):
        kind = opened.schema_arrow.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_string(kind) or types.is_large_string(kind):
            texts.append(name)
        elif not (types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind)):
            raise DatasetError(
                f"the column {name!r:.100} of {what} is {kind!s:.100}; expected text or whole numbers"
            )
    with damage_raised(what):
        # A dictionary keeps a text that is repeated a million times in memory once.
        file.seek(0)
        opened = parquet.ParquetFile(file, read_dictionary=texts, buffer_size=2**20)
        for batch in opened.iter_batches(_ROWS, columns=list(dict.fromkeys(columns.values()))):
            values = {}
            for ours, theirs in columns.items():
                column = batch.column(theirs)
                if types.is_dictionary(column.type):
                    if not types.is_integer(column.type.value_type):
                        words = compute.utf8_slice_codeunits(column.dictionary, 0, longest + 1)
                    else:
                        words = column.dictionary
                    listed = words.to_pylist()
                    numbers = column.indices.to_pylist()
                    values[ours] = [None if n is None else listed[n] for n in numbers]
                else:
                    values[ours] = column.to_pylist()
            for cells in zip(*values.values(), strict=True):
                yield dict(zip(values, cells, strict=True))


@contextmanager
def damage_raised(what: str) -> Iterator[None]:
    """Raise what pyarrow says of a damaged file as an error of one line.

    Raises:
        DatasetError: the file is damaged.
    """
    import pyarrow as pa  # noqa: PLC0415  # takes 0.1 s

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())[:200]
        raise DatasetError(f"{what} is damaged, or no Parquet file: {said}") from error


def _check_sizes(opened: Any, columns: Mapping[str, str], *, what: str) -> None:
    wanted = set(columns.values())
    for number in range(opened.metadata.num_row_groups):
        group = opened.metadata.row_group(number)
        for position in range(group.num_columns):
            chunk = group.column(position)
            size = chunk.total_uncompressed_size
            if chunk.path_in_schema in wanted and size > MAX_COLUMN_BYTES:
                raise DatasetError(
                    f"the column {chunk.path_in_schema!r:.100} of {what} takes {size:,} bytes in one row "
                    f"group, more than {MAX_COLUMN_BYTES:,}; write smaller row groups"
                )
