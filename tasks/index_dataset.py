"""Index a dataset: read, digest and check every image file."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.datasets import GENERATED, build_index, open_dataset
from feature_cache import IndexStore, Location
from tasks.progress import say, track
from tasks.references import IndexedDataset
from tasks.stored_indexes import write_index

__all__ = ["index_dataset"]


@task(name="index-dataset", cache_policy=NO_CACHE, result_serializer="json")
def index_dataset(
    dataset: str,
    *,
    root: Location,
    data: Path,
    images: Path | None = None,
    max_bad_fraction: float = 0.05,
) -> IndexedDataset:
    """Put the index of a dataset at rest and return a reference to it.

    Args:
        dataset: a name `open_dataset` knows.
        root: of everything at rest.
        data: the folder of dataset folders.
        images: this dataset's own folder, instead of one in `data`.
        max_bad_fraction: of unreadable files, above which something else is wrong.

    Raises:
        DatasetError: if the dataset is not there, or too much of it is unreadable.
    """
    # Pillow reports some hostile files to its log as well as by an exception.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # What we write ourselves belongs below the root, not among somebody's datasets.
    place = root / "images" if isinstance(root, Path) and dataset in GENERATED else data
    source = open_dataset(dataset, data=place, images=images)
    with track(f"indexing {source.name}", total=len(source.files), unit="files") as advance:
        index = build_index(
            source, max_bad_fraction=max_bad_fraction, progress=lambda _: advance(1)
        )
    write_index(IndexStore(root, source.name), index)
    for file in index.quarantined[:5]:
        say(f"quarantined {file.path}: {file.reason}")
    return IndexedDataset(
        root=root,
        name=source.name,
        folder=source.folder,
        index_fingerprint=index.fingerprint,
        class_names=source.class_names,
        templates=source.templates,
        n_images=len(index),
        n_quarantined=len(index.quarantined),
        n_leaked=len(index.leaks()),
    )
