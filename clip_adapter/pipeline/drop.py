"""Removes stored features of an encoder or of a dataset, which the next extraction encodes again."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.pipeline.datasets import stored_name
from clip_adapter.pipeline.evidence import evidence_on
from clip_adapter.pipeline.stored_rows import ChangedRows, drop_rows, summed
from clip_adapter.runs import PromotionStore
from feature_cache import FeatureStore, IndexStore, Location, storage, stored_folders, stores

_LEAST_DIGITS = 8
_DIGEST = pa.binary(32)


@dataclass(frozen=True, kw_only=True)
class DroppedFeatures:
    """The result of dropping features.

    Attributes:
        removed: rows that were removed, or would be.
        encoders: fingerprints of the encoders whose features were looked at.
        imported: those among them whose features were imported, so that nothing can encode them again.
        n_images_kept: number of images whose features stay because a champion rests on them.
    """

    removed: tuple[ChangedRows, ...]
    encoders: tuple[str, ...]
    imported: tuple[str, ...]
    n_images_kept: int


def drop_features(
    root: Location, *, encoder: str | None = None, dataset: str | None = None, dry_run: bool
) -> DroppedFeatures:
    """Remove the features of an encoder, of the images of a dataset, or of both together.

    Features stay of the images that a champion rests on, in the encoder of the decisions on it: the images of
    the runs that they cite. Of a dataset, features stay of images that another dataset names as well.
    The prompts and the description of an encoder go with its last image. Indexes, runs and champions stay.
    After an interruption some features are gone and no others are harmed.

    Args:
        root: folder or URL of the store.
        encoder: name of its model, or at least eight digits of its fingerprint; every encoder when None.
        dataset: name of the dataset; images of all when None.
        dry_run: only report what would be removed.

    Raises:
        ParameterError: neither is given, or several encoders have that name.
        UnknownNameError: there is no encoder of that name.
        NotStoredError: there is no dataset of that name.
        CorruptFileError, NewerFormatError, MisplacedFileError: a file is damaged; no more is removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    if encoder is None and dataset is None:
        message = "nothing says which features: give --encoder, --dataset, or both"
        raise ParameterError(message)
    found = list(stores(root)) if encoder is None else [_find(root, encoder)]
    only = None if dataset is None else _own_images(root, stored_name(root, dataset))
    removed: list[ChangedRows] = []
    kept: list[pa.Array] = []
    for store in found:
        keep = _evidence(root, store.encoder)
        kept.append(keep if only is None else keep.filter(pc.is_in(keep, value_set=only)))
        removed += _drop(root, store, only=only, keep=keep, dry_run=dry_run)
    described = {store.encoder: store.descriptions().get("origin") for store in found}
    return DroppedFeatures(
        removed=summed(removed),
        encoders=tuple(store.encoder for store in found),
        imported=tuple(name for name, origin in described.items() if origin == ["imported"]),
        n_images_kept=len(pa.concat_arrays([pa.array([], _DIGEST), *kept]).unique()),
    )


def _drop(
    root: Location,
    store: FeatureStore,
    *,
    only: pa.Array | None,
    keep: pa.Array,
    dry_run: bool,
) -> list[ChangedRows]:
    def dropped(table: pa.Table) -> pa.ChunkedArray:
        digests = table["image_sha256"]
        goes = pc.invert(pc.is_in(digests, value_set=keep))
        return goes if only is None else pc.and_(goes, pc.is_in(digests, value_set=only))

    def everything(table: pa.Table) -> pa.ChunkedArray:
        return pa.chunked_array([pa.repeat(True, table.num_rows)])  # a value

    folders = {each.kind: each for each in stored_folders(root) if each.owner == store.encoder}
    removed = list(drop_rows(folders["image-features"], dropped, dry_run=dry_run))
    if only is None and not len(keep):
        # The description goes last: while there are features, it says what made them.
        for kind in ("text-features", "encoder"):
            removed += drop_rows(folders[kind], everything, dry_run=dry_run)
        if not dry_run:
            for name in ("image", "text", "encoder"):
                storage.remove_empty_folder(store.folder / name)
            storage.remove_empty_folder(store.folder)
    return removed


def _find(root: Location, name: str) -> FeatureStore:
    known = {store: _names(store) for store in stores(root)}
    found = [
        store
        for store, names in known.items()
        if name in names or (len(name) >= _LEAST_DIGITS and store.encoder.startswith(name))
    ]
    if not found:
        labels = [each for store, names in known.items() for each in (*names, store.encoder[:12])]
        raise UnknownNameError("encoder", name, sorted(set(labels)))
    if len(found) > 1:
        digits = ", ".join(store.encoder[:12] for store in found)
        raise ParameterError(
            f"{len(found)} encoders are called {name!r}, as with another precision: name one by its "
            f"digits, which `clip-adapter cache stats` explains: {digits}"
        )
    return found[0]


def _names(store: FeatureStore) -> list[str]:
    described = store.descriptions()
    return [*described.get("model", []), *described.get("label", [])]


def _own_images(root: Location, dataset: str) -> pa.Array:
    """Digests of the images of a dataset that no other dataset names."""
    others = [
        _images(root, name) for name in storage.list_folders(root / "datasets") if name != dataset
    ]
    own = _images(root, dataset)
    shared = pa.concat_arrays([pa.array([], _DIGEST), *others])
    return own.filter(pc.invert(pc.is_in(own, value_set=shared)))


def _images(root: Location, dataset: str) -> pa.Array:
    return IndexStore(root, dataset).sizes().column("image_sha256").combine_chunks().unique()


def _evidence(root: Location, encoder: str) -> pa.Array:
    """Digests of the images that champions rest on whose decisions were made with an encoder."""
    decided = {each.dataset for each in PromotionStore(root).records() if each.encoder == encoder}
    found = [evidence_on(root, dataset).images for dataset in sorted(decided)]
    return pa.concat_arrays([pa.array([], _DIGEST), *found]).unique()
