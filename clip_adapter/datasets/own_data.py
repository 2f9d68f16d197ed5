"""The forms in which a user's own images come, each a prefix before a path or name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clip_adapter.datasets import huggingface, tables, webdataset
from clip_adapter.datasets.sources import FolderOptions, ImageSource, slug_of
from clip_adapter.errors import DatasetError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of own data beside folders of images.

    Attributes:
        written: how it is written, as `csv:PATH`.
        what: description in a few words.
        open: function of what follows the prefix, the folder of the images if the user names one,
            and the options.
        named: function from what follows the prefix to the name of the dataset.
        columns: columns that may be named.
    """

    written: str
    what: str
    open: Callable[[str, Path | None, FolderOptions], ImageSource]
    named: Callable[[str], str]
    columns: tuple[str, ...]


def _of_tables(kind: str, what: str) -> Form:
    return Form(
        written=f"{kind}:PATH",
        what=what,
        open=partial(tables.open_table, kind=kind),
        named=lambda path: Path(path).stem,
        columns=tables.COLUMNS,
    )


FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {
        "csv": _of_tables("csv", "your own pictures, listed in a CSV file: path, label"),
        "parquet": _of_tables(
            "parquet", "your own pictures, listed in a Parquet file: path, label"
        ),
        "jsonl": _of_tables("jsonl", "your own pictures, listed in lines of JSON: path, label"),
        "webdataset": Form(
            written="webdataset:GLOB",
            what="your own pictures in tar archives, local or s3://, not unpacked",
            open=webdataset.open_webdataset,
            named=webdataset.name_of_pattern,
            columns=webdataset.COLUMNS,
        ),
        "hf": Form(
            written="hf:OWNER/NAME",
            what="a dataset of the Hugging Face hub as Parquet, or a local copy: hf:/folder",
            open=huggingface.open_huggingface,
            named=huggingface.name_of_repository,
            columns=huggingface.COLUMNS,
        ),
    }
)
"""The forms by their prefixes."""


def form_of(dataset: str) -> Form | None:
    """The form of a dataset as the user spells it; None for folders, known datasets and features."""
    kind, colon, _ = dataset.partition(":")
    return FORMS.get(kind) if colon else None


def open_own(dataset: str, form: Form, images: Path | None, options: FolderOptions) -> ImageSource:
    """Open a dataset in one of the forms; raises as the function of the form."""
    place = _place(dataset, form)
    try:
        return form.open(place, images, options)
    except DatasetError:
        raise
    except (ValueError, RuntimeError) as error:  # of pathlib: a zero byte; `~user`
        raise DatasetError(f"{dataset!r:.200} cannot be opened: {error}") from error


def default_name(dataset: str, form: Form) -> str:
    """The name of a dataset unless the user gives one; nothing is opened."""
    return slug_of(form.named(_place(dataset, form)))


def check_columns(dataset: str, form: Form | None, options: FolderOptions) -> None:
    """Refuse names of columns that a dataset does not have.

    Raises:
        DatasetError: the dataset has no columns.
        UnknownNameError: there is no such column; the message suggests the nearest.
    """
    if not options.columns:
        return
    if form is None:
        raise DatasetError(
            f"--columns can change nothing for {dataset!r:.200}, which has no columns: leave it out"
        )
    for ours, _ in options.columns:
        if ours not in form.columns:
            raise UnknownNameError("column", ours, form.columns)


def _place(dataset: str, form: Form) -> str:
    place = dataset.partition(":")[2]
    if not place:
        kind = dataset.partition(":")[0]
        raise DatasetError(f"{kind!r} does not say which: write {form.written}")
    return place
