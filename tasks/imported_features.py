"""Datasets that consist of features made elsewhere: found in the store, never encoded."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from clip_adapter.datasets import check_imported_alone
from clip_adapter.encoders import parse_model_name
from clip_adapter.images import augmented_views
from feature_cache import FeatureStore, Location
from feature_cache.exchange import find_imported
from tasks.references import EncodedDataset, Encoding, IndexedDataset
from tasks.stored_indexes import read_index

__all__ = ["check_encoding", "imported_features", "imported_index"]


def check_encoding(dataset: str, encoding: Encoding, *, images: str | None) -> None:
    """Raise for a model that does not exist, or an encoding of what was encoded elsewhere.

    Raises:
        UnknownNameError, EncoderError: as `parse_model_name`.
        DatasetError: for features:NAME, if a model, a precision or anything else was chosen.
    """
    parse_model_name(encoding.model_name)
    check_imported_alone(
        dataset,
        model=encoding.model,
        images=images,
        precision=encoding.precision != "fp32",
        resize=encoding.resize,
        views=encoding.views,
    )


def imported_index(name: str, *, root: Location) -> IndexedDataset:
    """A reference to the index that the import wrote.

    Raises:
        UnknownImportError: nothing was imported under that name.
    """
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
    index = read_index(dataset)
    return replace(dataset, n_images=len(index), n_leaked=len(index.leaks()))


def imported_features(
    dataset: IndexedDataset, *, views: int = 0, view_rows: Sequence[int] | None = None
) -> EncodedDataset:
    """A reference to the features that the import stored.

    Args:
        dataset: an imported dataset.
        views: augmented views that are asked for; those that were imported are referred to.
        view_rows: the rows of the images that need them; all when None.

    Raises:
        IncompleteImportError: some are no longer there.
    """
    found = find_imported(dataset.root, dataset.name)
    found.check_complete()
    return EncodedDataset(
        dataset=dataset,
        model=found.label,
        encoder=found.encoder,
        precision=found.precision,
        logit_scale=found.logit_scale,
        n_reused=found.n_images,
        n_encoded=0,
        n_prompts_encoded=0,
        seconds=0.0,
        augmented_views=_imported_views(dataset, found.encoder, views, view_rows),
    )


def _imported_views(
    dataset: IndexedDataset, encoder: str, views: int, view_rows: Sequence[int] | None
) -> tuple[int, ...]:
    """The first of the wanted views that every image has which needs them."""
    index = read_index(dataset)
    rows = range(len(index)) if view_rows is None else view_rows
    digests = [index.image_sha256[row] for row in rows]
    store = FeatureStore(dataset.root, encoder)
    numbers = augmented_views(views)
    return tuple(takewhile(lambda view: not store.missing_images(digests, view=view), numbers))
