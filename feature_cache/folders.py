"""Folders of a store, and what their files must contain: for maintenance of the whole store."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from feature_cache import storage
from feature_cache.feature_table import VIEW
from feature_cache.features import DESCRIPTION_SCHEMA, IMAGE, PROMPT, stores
from feature_cache.indexes import (
    EXCLUDED_SCHEMA,
    QUARANTINE_SCHEMA,
    STORED_INDEX_SCHEMA,
    check_dataset,
)
from feature_cache.paths import Location


@dataclass(frozen=True)
class StoredFolder:
    """Folder of Parquet files with rows of one kind.

    Attributes:
        path: path of the folder; it may be missing.
        kind: kind that the rows must be of.
        owner: owner that the rows must have; empty if the kind is enough.
        schema: columns of the rows, without `feature`; None if this package does not know them.
        key: columns that identify a row; empty if only the whole row does.
        has_features: whether the rows have features.
    """

    path: Location
    kind: str
    owner: str = ""
    schema: pa.Schema | None = None
    key: tuple[str, ...] = ()
    has_features: bool = False


def stored_folders(root: Location) -> Iterator[StoredFolder]:
    """Yield the folders of all encoders, datasets and run tables in a store, in this order."""
    for store in stores(root):
        yield from _encoder_folders(store.folder, store.encoder)
    for name in storage.list_folders(root / "datasets"):
        yield from _dataset_folders(root / "datasets" / name, name)
    for name in storage.list_folders(root / "runs"):
        yield StoredFolder(root / "runs" / name, name)


def classifier_folder(root: Location, dataset: str) -> Location:
    """Return the folder of the classifiers promoted for a dataset; it may not exist yet.

    Raises:
        InvalidInputError: the name is not safe as the name of a folder.
    """
    check_dataset(dataset)
    return root / "champions" / dataset


def classifier_folders(root: Location) -> Iterator[Location]:
    """Yield the folders of promoted classifiers in a store."""
    for name in storage.list_folders(root / "champions"):
        yield root / "champions" / name


def _encoder_folders(folder: Location, encoder: str) -> Iterator[StoredFolder]:
    yield StoredFolder(
        folder / "image",
        "image-features",
        encoder,
        schema=pa.schema([IMAGE, VIEW]),
        key=("image_sha256", "view"),
        has_features=True,
    )
    yield StoredFolder(
        folder / "text",
        "text-features",
        encoder,
        schema=pa.schema([PROMPT]),
        key=("prompt",),
        has_features=True,
    )
    yield StoredFolder(folder / "encoder", "encoder", encoder, schema=DESCRIPTION_SCHEMA)


def _dataset_folders(folder: Location, name: str) -> Iterator[StoredFolder]:
    yield StoredFolder(folder / "images", "dataset-index", name, schema=STORED_INDEX_SCHEMA)
    yield StoredFolder(folder / "quarantine", "dataset-quarantine", name, schema=QUARANTINE_SCHEMA)
    yield StoredFolder(folder / "excluded", "dataset-excluded", name, schema=EXCLUDED_SCHEMA)
