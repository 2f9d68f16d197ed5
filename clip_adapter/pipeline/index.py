"""Indexes a dataset: reads, digests and checks every image file."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.index_store import IndexedDataset, known_sizes, write_index
from clip_adapter.pipeline.reporter import Reporter
from feature_cache import IndexStore, Location
from feature_cache.exchange import find_imported


def index_dataset(
    dataset: str,
    *,
    root: Location,
    data: Path,
    images: Path | None = None,
    max_bad_fraction: float = 0.05,
    templates: Sequence[str] | None = None,
    reporter: Reporter,
) -> IndexedDataset:
    """Store the index of a dataset and return the indexed dataset.

    Every file is read and digested. A file whose digest is in an earlier index is not decoded again.

    Args:
        dataset: a name that `open_dataset` takes, or features:NAME, whose index is stored already.
        root: folder or URL of the store.
        data: folder of dataset folders.
        images: folder of this dataset, instead of one in `data`.
        max_bad_fraction: fraction of unreadable files above which indexing fails.
        templates: prompts with one {} for the class name, instead of those of the dataset.
        reporter: where to report progress and unreadable files.

    Raises:
        DatasetError: the dataset is missing, too many files are unreadable, or a template is
            invalid.
        UnknownImportError: no features were imported as NAME.
    """
    if dataset.startswith(IMPORTED):
        if templates:
            raise DatasetError(f"{dataset!r} has the texts it was imported with, and no templates")
        return _imported(dataset.removeprefix(IMPORTED), root=root)
    if templates:
        check_templates(templates)
    # Pillow logs some malformed files in addition to raising an exception.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # Generated images belong below the root, not among a user's datasets.
    place = root / "images" if isinstance(root, Path) and dataset in GENERATED else data
    source = open_dataset(dataset, data=place, images=images)
    # Setting a damaged index aside loses nothing: this one replaces it.
    store = IndexStore(root, source.name, on_corruption=reporter.quarantine_file)
    known = known_sizes(store)
    index = _build(source, max_bad_fraction=max_bad_fraction, known=known, reporter=reporter)
    store.read_quarantine(index.fingerprint)  # reports a damaged file before it is overwritten
    write_index(store, index)
    for file in index.quarantined[:5]:
        # A file name may contain line breaks, which `log` does not escape.
        reporter.log(f"quarantined {escape_control_characters(file.path)}: {file.reason}")
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
    ).having(index)


def _build(
    source: ImageSource, *, max_bad_fraction: float, known: KnownSizes, reporter: Reporter
) -> DatasetIndex:
    done = 0
    with reporter.progress(
        f"indexing {source.name}", total=len(source.files), unit="files"
    ) as advance:

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


def _imported(name: str, *, root: Location) -> IndexedDataset:
    """The dataset whose index the import wrote."""
    found = find_imported(root, name)
    dataset = IndexedDataset(
        root=root,
        name=name,
        folder=Path(),
        index_fingerprint=found.index_fingerprint,
        class_names=found.class_names,
        templates=found.templates,
        n_images=0,
        n_quarantined=0,
        n_leaked=0,
        is_imported=True,
    )
    index = dataset.index
    return replace(dataset, n_images=len(index), n_leaked=len(index.leaks())).having(index)
