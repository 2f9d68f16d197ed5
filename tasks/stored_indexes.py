"""Dataset indexes between their two forms: columns of the library, tables at rest."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.datasets import DatasetIndex, ImageSource, KnownSizes
from feature_cache import INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore
from tasks.references import IndexedDataset

__all__ = ["known_sizes", "read_index", "write_index"]


def write_index(store: IndexStore, index: DatasetIndex) -> None:
    """Put an index and its quarantine at rest."""
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
    # Features imported under the dataset's name have no pixels: nobody decoded those images.
    sizes = store.sizes().filter(pc.field("width") > 0)
    digests, widths, heights = (column.to_pylist() for column in sizes.columns)
    return dict(zip(digests, zip(widths, heights, strict=True), strict=True))


def read_index(dataset: IndexedDataset) -> DatasetIndex:
    """The index a reference stands for, verified; without its quarantine."""
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
