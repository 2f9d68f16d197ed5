"""Index a dataset: read, digest and check every image file."""

import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.datasets import (
    GENERATED,
    IMPORTED,
    DatasetError,
    DatasetIndex,
    ImageSource,
    KnownSizes,
    build_index,
    check_templates,
    open_dataset,
)
from clip_adapter.printable import printable
from feature_cache import IndexStore, Location
from tasks.damage import set_aside_and_say
from tasks.imported_features import imported_index
from tasks.progress import say, track
from tasks.references import IndexedDataset
from tasks.retries import PAUSES_SECONDS, RETRIES, when_transient
from tasks.stored_indexes import known_sizes, write_index

__all__ = ["index_dataset"]


@task(
    name="index-dataset",
    cache_policy=NO_CACHE,
    result_serializer="json",
    # Images may lie in a network folder, the index in an object store.
    retries=RETRIES,
    retry_delay_seconds=PAUSES_SECONDS,
    retry_condition_fn=when_transient,
)
def index_dataset(
    dataset: str,
    *,
    root: Location,
    data: Path,
    images: Path | None = None,
    max_bad_fraction: float = 0.05,
    templates: Sequence[str] | None = None,
) -> IndexedDataset:
    """Put the index of a dataset at rest and return a reference to it.

    Every file is read and digested; one whose bytes an earlier index holds is not decoded again.

    Args:
        dataset: a name `open_dataset` knows, or features:NAME, whose index is there already.
        root: of everything at rest.
        data: the folder of dataset folders.
        images: this dataset's own folder, instead of one in `data`.
        max_bad_fraction: of unreadable files, above which something else is wrong.
        templates: prompts with one {} for the class name, instead of the dataset's own.

    Raises:
        DatasetError: if the dataset is not there, too much of it is unreadable, or a template
            is none.
        UnknownImportError: nothing was imported as NAME.
    """
    if dataset.startswith(IMPORTED):
        if templates:
            raise DatasetError(f"{dataset!r} has the texts it was imported with, and no templates")
        return imported_index(dataset.removeprefix(IMPORTED), root=root)
    if templates:
        check_templates(templates)
    # Pillow reports some hostile files to its log as well as by an exception.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # What we write ourselves belongs below the root, not among somebody's datasets.
    place = root / "images" if isinstance(root, Path) and dataset in GENERATED else data
    source = open_dataset(dataset, data=place, images=images)
    # An index that is set aside only costs time: this one is written in its stead.
    store = IndexStore(root, source.name, on_damage=set_aside_and_say)
    index = _build(source, max_bad_fraction=max_bad_fraction, known=known_sizes(store))
    store.read_quarantine(index.fingerprint)  # says what is damaged before it is written over
    write_index(store, index)
    for file in index.quarantined[:5]:
        # A name may hold line breaks, which are let through elsewhere.
        say(f"quarantined {printable(file.path)}: {file.reason}")
    return IndexedDataset(
        root=root,
        name=source.name,
        folder=source.folder,
        index_fingerprint=index.fingerprint,
        class_names=source.class_names,
        templates=tuple(templates or source.templates),
        n_images=len(index),
        n_quarantined=len(index.quarantined),
        n_leaked=len(index.leaks()),
    )


def _build(source: ImageSource, *, max_bad_fraction: float, known: KnownSizes) -> DatasetIndex:
    done = 0
    with track(f"indexing {source.name}", total=len(source.files), unit="files") as advance:

        def show(total: int) -> None:
            nonlocal done
            advance(total - done)
            done = total

        # Two threads decode faster than one, but read small files in memory half as fast.
        return build_index(
            source,
            max_bad_fraction=max_bad_fraction,
            progress=show,
            known=known,
            workers=1 if known else 2,
        )
