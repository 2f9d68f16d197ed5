"""Finds images whose class changed since the champion was trained."""

from collections.abc import Iterable

from clip_adapter.datasets import DatasetIndex
from clip_adapter.pipeline.index_store import IndexedDataset
from clip_adapter.runs import LabelDrift, PromotionRecord
from feature_cache import IndexStore, MissingIndexError


def label_drift(dataset: IndexedDataset, champion: PromotionRecord) -> LabelDrift:
    """Compare the labels of images that today's index and the champion's have in common.

    Images are identified by their digest, classes by their name. The result is unknown where fewer
    than half of the champion's images are still there: images that were saved again under wrong
    names look like that. Images that are in test in either index or have two labels are left out.

    Args:
        dataset: the dataset as it is now.
        champion: promotion with whose index the labels are compared.
    """
    if champion.index_fingerprint == dataset.index_fingerprint:
        return LabelDrift()
    try:
        before = IndexStore(dataset.root, dataset.name).read(champion.index_fingerprint)
    except MissingIndexError as error:
        return LabelDrift(unknown=str(error))
    columns = (before.column(name).to_pylist() for name in ("image_sha256", "class_name", "split"))
    then = _by_image(zip(*columns, strict=True))
    index = dataset.index
    names = [dataset.class_names[label] for label in index.labels]
    now = _by_image(zip(index.image_sha256, names, index.splits, strict=True))
    common = [digest for digest in now if digest in then]
    if 2 * len(common) < len(then):
        return LabelDrift(unknown=_too_few(len(common), len(then)))
    changed = [digest for digest in common if now[digest] != then[digest]]
    return LabelDrift(
        n_common=len(common),
        n_relabelled=len(changed),
        example=_example(index, changed[0], then, now) if changed else "",
    )


def _too_few(n_common: int, n_before: int) -> str:
    return (
        f"of the {n_before:,} images it was trained among only {n_common:,} are there today, bit "
        "for bit, expected half or more"
    )


def _by_image(rows: Iterable[tuple[bytes, str, str]]) -> dict[bytes, str]:
    names: dict[bytes, set[str]] = {}
    tested: set[bytes] = set()
    for digest, name, split in rows:
        names.setdefault(digest, set()).add(name)
        if split == "test":
            tested.add(digest)
    return {
        digest: found.pop()
        for digest, found in names.items()
        if len(found) == 1 and digest not in tested
    }


def _example(
    index: DatasetIndex, digest: bytes, then: dict[bytes, str], now: dict[bytes, str]
) -> str:
    path = index.paths[index.image_sha256.index(digest)]
    return f"{path!r}, which was {then[digest]!r} and is {now[digest]!r}"
