"""The latest index of a dataset at rest, by the name a person types."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clip_adapter.datasets import IMPORTED, open_dataset
from clip_adapter.errors import nearest
from clip_adapter.runs import RunStoreError, current_index
from clip_adapter.settings import Settings
from feature_cache import (
    Location,
    MissingIndexError,
    StoredFolder,
    classifier_folders,
    is_content,
    read_table,
    storage,
)
from feature_cache.files import is_final


def existing_root(root: str | None) -> Location:
    """The root, if there is one: an empty answer about a misspelt folder would be a wrong one.

    Raises:
        RunStoreError: There is no such folder, or nothing below such a prefix.
    """
    place = Settings.of(root=root).location
    if not storage.is_folder(place):
        raise RunStoreError.no_store(place)
    return place


def sizes_of_files(folder: StoredFolder) -> list[int]:
    """The sizes in bytes of the complete files of a folder."""
    return [entry.size_bytes for entry in storage.list_entries(folder.path) if is_final(entry.name)]


def sizes_of_classifiers(root: Location) -> list[int]:
    """The sizes in bytes of the classifiers that were promoted."""
    return [
        entry.size_bytes
        for folder in classifier_folders(root)
        for entry in storage.list_entries(folder)
        if is_content(entry.name)
    ]


@dataclass(frozen=True)
class LatestIndex:
    """Which images a dataset had when it was last asked for.

    Attributes:
        name: The dataset's, at rest.
        fingerprint: The index's.
        made: When this index was first written.
        n_images: Its rows; copies of an image count.
        image_sha256: Every image once.
    """

    name: str
    fingerprint: str
    made: datetime
    n_images: int
    image_sha256: tuple[bytes, ...]


def latest_index(root: Location, dataset: str) -> LatestIndex:
    """Read the index in which a dataset was last asked for; in stores of before, the newest.

    Args:
        root: Of everything at rest.
        dataset: As `extract` takes it, or as `datasets` lists it.

    Raises:
        MissingIndexError: The dataset was not indexed here.
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError: The index cannot be
            trusted.
        DatasetError: `imagefolder:PATH` of a folder that is not there.
    """
    name = stored_name(dataset)
    indexed = storage.list_folders(root / "datasets")
    folder = root / "datasets" / name / "images"
    # Only a name that was found becomes part of a path.
    entries = storage.list_entries(folder) if name in indexed else []
    complete = [entry for entry in entries if is_final(entry.name)]
    if not complete:
        raise MissingIndexError(_not_indexed(dataset, indexed))
    newest_first = sorted(complete, key=lambda entry: entry.modified, reverse=True)
    wanted = current_index(root, name)  # None in a store of before requests were recorded
    for entry in newest_first:
        found = _read(folder / entry.name, name, made=entry.modified)
        if wanted in {None, found.fingerprint}:
            return found
    raise MissingIndexError(
        f"the index {wanted[:12] if wanted else ''} in which dataset {name!r} was asked for last is "
        f"not in {folder}: `clip-adapter extract` indexes the dataset again"
    )


def _read(path: Location, name: str, *, made: float) -> LatestIndex:
    columns = ["index_fingerprint", "image_sha256"]
    table = read_table(path, kind="dataset-index", owner=name, columns=columns)
    return LatestIndex(
        name=name,
        fingerprint=table.column("index_fingerprint")[0].as_py(),
        made=datetime.fromtimestamp(made, tz=UTC),
        n_images=table.num_rows,
        image_sha256=tuple(dict.fromkeys(table.column("image_sha256").to_pylist())),
    )


def stored_name(dataset: str) -> str:
    """The name at rest of a dataset that is named as `train` takes it.

    Raises:
        DatasetError: `imagefolder:PATH` of a folder that is not there.
    """
    if dataset.startswith("imagefolder:"):
        return open_dataset(dataset, data=Path()).name
    return dataset.removeprefix(IMPORTED)


def _not_indexed(dataset: str, indexed: list[str]) -> str:
    close = nearest(dataset, indexed)
    known = f"it knows {', '.join(indexed[:12])}." if indexed else "it knows no dataset yet."
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else known
    return (
        f"dataset {dataset!r} is not indexed in this store: {hint} `clip-adapter extract` indexes "
        "a dataset, and encodes every image of it that the store lacks"
    )
