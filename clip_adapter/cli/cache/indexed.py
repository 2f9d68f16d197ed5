"""The stored index of a dataset, by the name that a user types."""

from dataclasses import dataclass
from datetime import UTC, datetime

from clip_adapter.datasets import check_no_folder
from clip_adapter.errors import nearest
from clip_adapter.pipeline.identity import stored_name
from clip_adapter.runs import RunStoreError, current_index
from clip_adapter.settings import Settings
from feature_cache import (
    Location,
    NotStoredError,
    StoredFolder,
    classifier_folders,
    is_content,
    list_file_entries,
    read_table,
    storage,
)


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
    return [entry.size_bytes for entry in list_file_entries(folder.path)]


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
    """The images of a dataset in its latest index.

    Attributes:
        name: name of the dataset in the store.
        fingerprint: fingerprint of the index.
        made: time when this index was first written.
        n_images: number of rows; copies of an image count.
        image_sha256: digests of the distinct images.
    """

    name: str
    fingerprint: str
    made: datetime
    n_images: int
    image_sha256: tuple[bytes, ...]


def latest_index(root: Location, dataset: str) -> LatestIndex:
    """Read the index of the latest request for a dataset; the newest if no request is recorded.

    Args:
        root: folder or URL of the store.
        dataset: name as `extract` takes it, or as `datasets` lists it.

    Raises:
        NotStoredError: the dataset is not indexed in this store.
        CorruptFileError, NewerFormatError, MisplacedFileError: the index is damaged.
        DatasetError: the folder of `imagefolder:PATH` does not exist or is that of several datasets, or
            a folder is named without that prefix.
    """
    name = stored_name(dataset, root=root)
    indexed = storage.list_folders(root / "datasets")
    folder = root / "datasets" / name / "images"
    # Only a name that was found becomes part of a path.
    complete = list_file_entries(folder) if name in indexed else []
    if not complete:
        check_no_folder(dataset)
        raise NotStoredError(_not_indexed(dataset, indexed))
    newest_first = sorted(complete, key=lambda entry: entry.modified, reverse=True)
    wanted = current_index(root, name)  # None if the store is older than the log of requests
    for entry in newest_first:
        found = _read(folder / entry.name, name, made=entry.modified)
        if wanted in {None, found.fingerprint}:
            return found
    raise NotStoredError(
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


def _not_indexed(dataset: str, indexed: list[str]) -> str:
    close = nearest(dataset, indexed)
    known = f"it knows {', '.join(indexed[:12])}." if indexed else "it knows no dataset yet."
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else known
    return (
        f"dataset {dataset!r} is not indexed in this store: {hint} `clip-adapter extract` indexes "
        "a dataset, and encodes every image of it that the store lacks"
    )
