"""Every folder of a store, with what its files must be: for those who look after all of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from feature_cache import storage
from feature_cache.feature_table import VIEW
from feature_cache.features import DESCRIPTION_SCHEMA, IMAGE, PROMPT, stores
from feature_cache.indexes import EXCLUDED_SCHEMA, QUARANTINE_SCHEMA, STORED_INDEX_SCHEMA
from feature_cache.paths import Location


@dataclass(frozen=True)
class StoredFolder:
    """One folder of files.

    Attributes:
        path: Where it lies; it may be missing.
        kind: What its rows must be.
        owner: Whose they must be; empty where the kind says enough.
        schema: The columns its rows must have, but for `feature`; None where others know them.
        key: The columns that tell two rows apart; none where whole rows do.
        has_features: Whether the rows hold features.
    """

    path: Location
    kind: str
    owner: str = ""
    schema: pa.Schema | None = None
    key: tuple[str, ...] = ()
    has_features: bool = False


def stored_folders(root: Location) -> Iterator[StoredFolder]:
    """The folders of all encoders, datasets and run tables that are there, in this order."""
    for store in stores(root):
        yield from _of_an_encoder(store.folder, store.encoder)
    for name in storage.list_folders(root / "datasets"):
        yield from _of_a_dataset(root / "datasets" / name, name)
    for name in storage.list_folders(root / "runs"):
        yield StoredFolder(root / "runs" / name, name)


def _of_an_encoder(folder: Location, encoder: str) -> Iterator[StoredFolder]:
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


def _of_a_dataset(folder: Location, name: str) -> Iterator[StoredFolder]:
    yield StoredFolder(folder / "images", "dataset-index", name, schema=STORED_INDEX_SCHEMA)
    yield StoredFolder(folder / "quarantine", "dataset-quarantine", name, schema=QUARANTINE_SCHEMA)
    yield StoredFolder(folder / "excluded", "dataset-excluded", name, schema=EXCLUDED_SCHEMA)
