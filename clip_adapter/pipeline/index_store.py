"""Writes dataset indexes to a store as tables, and reads them back."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.datasets import DatasetIndex, ImageSource, KnownSizes
from feature_cache import INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore, Location


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
        n_quarantined: number of files that are not used.
        n_leaked: number of distinct images that occur in both train and test.
        is_imported: whether the dataset consists of imported features; `folder` is unused then.
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

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the index, which another process reads from the store."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def index(self) -> DatasetIndex:
        """The rows of the index, read from the store unless they were passed on with `having`."""
        return read_index(self)

    def having(self, index: DatasetIndex) -> "IndexedDataset":
        """Set the rows of the index, so that they are not read again, and return the dataset."""
        vars(self)["index"] = index
        return self

    def prompted(self, templates: tuple[str, ...]) -> "IndexedDataset":
        """The dataset with these templates; the dataset itself when `templates` is empty."""
        return replace(self, templates=templates).having(self.index) if templates else self

    @property
    def prompts(self) -> list[str]:
        """All prompts, class by class, and template by template within a class."""
        return [
            template.replace("{}", name) for name in self.class_names for template in self.templates
        ]


def write_index(store: IndexStore, index: DatasetIndex) -> None:
    """Store an index and its quarantine."""
    n_images, n_bad = len(index), len(index.quarantined)
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
    store.write(images, quarantine)


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
