"""How much one encoder's store holds."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from feature_cache import storage
from feature_cache.feature_table import FeatureTable
from feature_cache.files import is_final
from feature_cache.paths import Location


@dataclass(frozen=True)
class FeatureStatistics:
    """How much one encoder's store holds.

    Attributes:
        n_images: Distinct images, whatever the number of their views.
        n_views: Distinct features of images: one for each image and view.
        n_prompts: Distinct prompts.
        n_files: Complete files, the description included.
        size_bytes: Their size on disk.
        dim: The width of a feature, 0 while there is none.
    """

    n_images: int
    n_views: int
    n_prompts: int
    n_files: int
    size_bytes: int
    dim: int


def summarise(
    images: FeatureTable,
    prompts: FeatureTable,
    description: Location,
    *,
    progress: Callable[[int], None] | None = None,
) -> FeatureStatistics:
    """Count what two shelves and the folder of the description hold."""
    keys = images.keys(progress=progress)
    entries = [
        entry
        for folder in (images.folder, prompts.folder, description)
        for entry in storage.list_entries(folder)
        if is_final(entry.name)
    ]
    kind = images.feature_type() or prompts.feature_type()
    return FeatureStatistics(
        n_images=count_distinct(keys.column("image_sha256")),
        n_views=keys.group_by(keys.column_names).aggregate([]).num_rows,
        n_prompts=count_distinct(prompts.keys(progress=progress).column(0)),
        n_files=len(entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        dim=0 if kind is None else kind.list_size,
    )


def count_distinct(keys: pa.Array | pa.ChunkedArray) -> int:
    """How many different keys there are."""
    import pyarrow.compute as pc  # noqa: PLC0415  # 0.1 s, for whoever computes

    return int(pc.count_distinct(keys).as_py())
