"""Indexes a dataset: reads, digests and checks every image file, and stores the result as tables."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.datasets import (
    GENERATED,
    IMPORTED,
    DatasetError,
    DatasetIndex,
    FolderOptions,
    ImageSource,
    KnownSizes,
    build_index,
    check_templates,
    open_dataset,
)
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import AS_IT_IS, ReadOptions
from clip_adapter.pipeline.reporter import Reporter
from feature_cache import EXCLUDED_SCHEMA, INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore, Location
from feature_cache.exchange import find_imported


@dataclass(frozen=True, kw_only=True)
class IndexedDataset:
    """A dataset whose index is stored.

    Attributes:
        root: folder or URL of the store.
        name: name of the dataset in the store.
        folder: folder of the images on this machine.
        index_fingerprint: fingerprint of the index, which identifies the state of the dataset.
        class_names: class names as they appear in a prompt.
        templates: prompts with one `{}`.
        n_images: number of readable images.
        n_quarantined: number of files that could not be read as an image.
        n_leaked: number of distinct images that occur in both train and test.
        is_imported: whether the dataset consists of imported features; `folder` is unused then.
        excluded: number of other files that are not used, by reason.
        read: how the image files may be read.
    """

    root: Location
    name: str
    folder: Path
    index_fingerprint: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    n_images: int
    n_quarantined: int
    n_leaked: int
    is_imported: bool = False
    excluded: Mapping[str, int] = field(default_factory=dict)
    read: ReadOptions = AS_IT_IS

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the index, which another process reads from the store."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def index(self) -> DatasetIndex:
        """The rows of the index, read from the store unless they were given to `with_index`."""
        return read_index(self)

    def with_index(self, index: DatasetIndex) -> "IndexedDataset":
        """A copy that has the rows of its index, so that they are not read from the store."""
        copy = replace(self)
        vars(copy)["index"] = index  # the cached property
        return copy

    def prompted(self, templates: tuple[str, ...]) -> "IndexedDataset":
        """The dataset with these templates; the dataset itself when `templates` is empty."""
        return replace(self, templates=templates).with_index(self.index) if templates else self

    @property
    def prompts(self) -> list[str]:
        """All prompts, class by class, and template by template within a class."""
        return [
            template.replace("{}", name) for name in self.class_names for template in self.templates
        ]


def index_dataset(
    dataset: str,
    *,
    root: Location,
    data: Path,
    images: Path | None = None,
    options: FolderOptions = FolderOptions(),  # noqa: B008  # is immutable
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
        options: what the user says about the folder.
        max_bad_fraction: fraction of unreadable files above which indexing fails.
        templates: prompts with one {} for the class name, instead of those of the dataset.
        reporter: where to report progress and unreadable files.

    Raises:
        DatasetError: the dataset is missing, too many files are unreadable, or a template is
            invalid.
        NotStoredError: no features were imported as NAME.
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
    source = open_dataset(dataset, data=place, images=images, options=options)
    # Setting a damaged index aside loses nothing: this one replaces it.
    store = IndexStore(root, source.name, on_corruption=reporter.quarantine_file)
    known = known_sizes(store)
    index = _build(source, max_bad_fraction=max_bad_fraction, known=known, reporter=reporter)
    store.read_quarantine(index.fingerprint)  # reports a damaged file before it is overwritten
    write_index(store, index)
    for note in source.notes:
        reporter.log(escape_control_characters(note))
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
        excluded=dict(Counter(file.reason for file in index.excluded).most_common()),
        read=source.read,
    ).with_index(index)


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
    return replace(dataset, n_images=len(index), n_leaked=len(index.leaks())).with_index(index)


def write_index(store: IndexStore, index: DatasetIndex) -> None:
    """Store an index with the files that are not used."""
    n_images, n_bad, n_excluded = len(index), len(index.quarantined), len(index.excluded)
    names = index.source.class_names
    images = pa.table(
        {
            "index_fingerprint": [index.fingerprint] * n_images,
            "dataset": [index.source.name] * n_images,
            "row": np.arange(n_images, dtype=np.int32),
            "image_sha256": pa.array(index.image_sha256, pa.binary(32)),
            "path": index.paths,
            "label": index.labels.astype(np.int32),
            "class_name": [names[label] for label in index.labels],
            "split": index.splits,
            "group": pa.array(index.groups, pa.string()),
            "width": index.widths,
            "height": index.heights,
            "n_bytes": index.n_bytes,
        },
        schema=INDEX_SCHEMA,
    )
    quarantine = pa.table(
        {
            "index_fingerprint": [index.fingerprint] * n_bad,
            "dataset": [index.source.name] * n_bad,
            "path": [file.path for file in index.quarantined],
            "reason": [file.reason for file in index.quarantined],
            "n_bytes": [file.n_bytes for file in index.quarantined],
        },
        schema=QUARANTINE_SCHEMA,
    )
    excluded = pa.table(
        {
            "index_fingerprint": [index.fingerprint] * n_excluded,
            "dataset": [index.source.name] * n_excluded,
            "path": [file.path for file in index.excluded],
            "reason": [file.reason for file in index.excluded],
        },
        schema=EXCLUDED_SCHEMA,
    )
    store.write(images, quarantine, excluded=excluded, source=str(index.source.folder.absolute()))


def known_sizes(store: IndexStore) -> KnownSizes:
    """Width and height of every image of the dataset's earlier indexes, by digest."""
    # Features imported under this name have no pixels and therefore no size.
    sizes = store.sizes().filter(pc.field("width") > 0)
    digests, widths, heights = (column.to_pylist() for column in sizes.columns)
    return dict(zip(digests, zip(widths, heights, strict=True), strict=True))


def read_index(dataset: IndexedDataset) -> DatasetIndex:
    """Read and verify the index of a dataset, without its quarantine."""
    table = IndexStore(dataset.root, dataset.name).read(dataset.index_fingerprint)
    columns = {name: table.column(name) for name in table.column_names}
    return DatasetIndex(
        source=ImageSource(
            dataset.name, dataset.folder, dataset.class_names, dataset.templates, files=()
        ),
        paths=tuple(columns["path"].to_pylist()),
        image_sha256=tuple(columns["image_sha256"].to_pylist()),
        labels=columns["label"].to_numpy().astype(np.int64),
        splits=tuple(columns["split"].to_pylist()),
        groups=tuple(columns["group"].to_pylist()),
        widths=columns["width"].to_numpy(),
        heights=columns["height"].to_numpy(),
        n_bytes=columns["n_bytes"].to_numpy(),
        quarantined=(),
    )
