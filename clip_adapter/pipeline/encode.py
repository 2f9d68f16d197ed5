"""Encodes the images and prompts of a dataset that have no stored feature yet."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

import numpy as np
import pyarrow as pa

from clip_adapter.datasets import DatasetIndex
from clip_adapter.images import WantedViews, augmented_views, prefetch
from clip_adapter.pipeline.encoder_lock import encoder_slot
from clip_adapter.pipeline.encoding import EncoderFacts, Encoding
from clip_adapter.pipeline.feature_writer import FeatureWriter
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.tables import TabularResult
from feature_cache import FeatureStore, compact_folder, stored_folders
from feature_cache.exchange import find_imported

FILES_WORTH_MERGING = 16
"""Fewer small files than this cost a reader nothing noticeable."""

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several parts of nearly equal size.

    Attributes:
        number: counted from 0.
        of: how many there are.
    """

    number: int
    of: int

    def take(self, items: Mapping[Key, Value]) -> dict[Key, Value]:
        """The items that lie in this part, in their order.

        >>> [Part(number=number, of=2).take({"a": 1, "b": 2, "c": 3}) for number in (0, 1)]
        [{'a': 1}, {'b': 2, 'c': 3}]
        """
        low, high = (len(items) * place // self.of for place in (self.number, self.number + 1))
        return dict(list(items.items())[low:high])

    def take_by_digest(self, items: Mapping[bytes, Value]) -> dict[bytes, Value]:
        """The items whose SHA-256 lies in this part, whatever other items there are."""
        return {
            digest: value
            for digest, value in items.items()
            if int.from_bytes(digest[:8], "big") % self.of == self.number
        }


@dataclass(frozen=True, kw_only=True)
class EncodedPart:
    """Counts of encoding some images.

    Attributes:
        n_encoded: views of distinct images that were encoded now.
        n_reused: views of distinct images whose feature was stored already.
        seconds: time spent encoding, decoding included.
    """

    n_encoded: int
    n_reused: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EncodedDataset(TabularResult):
    """A dataset of which every image and prompt has a stored feature, unless `n_missing` is not 0.

    Attributes:
        dataset: the indexed dataset.
        model: name of the encoder as requested, or the label of an imported one.
        encoder: fingerprint of the encoder.
        precision: numeric format of the encoder's forward pass.
        logit_scale: inverse temperature of the encoder.
        logit_bias: constant that a sigmoid model adds to every logit; None where it has none.
        n_reused: views of distinct images whose feature was stored already.
        n_encoded: views of distinct images that were encoded now.
        n_prompts_encoded: prompts that were encoded now.
        seconds: time spent encoding images, decoding included.
        augmented_views: numbers of the views that training images have beside the image itself.
        notes: what was assumed of the encoder, or taken from elsewhere; empty if it was not loaded.
        n_missing: views of images, and prompts, that are left to other parts and not stored yet.
    """

    dataset: IndexedDataset
    model: str
    encoder: str
    precision: str
    logit_scale: float
    n_reused: int
    n_encoded: int
    n_prompts_encoded: int
    seconds: float
    augmented_views: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    logit_bias: float | None = None
    n_missing: int = 0

    def views_for(self, n_views: int) -> tuple[int, ...]:
        """The numbers of the first `n_views` augmented views; fewer where there are fewer."""
        return self.augmented_views[:n_views]

    @property
    def images_per_second(self) -> float:
        """Encoding rate; 0 when nothing was encoded."""
        return self.n_encoded / self.seconds if self.seconds > 0 else 0.0

    @property
    def summary(self) -> str:
        """One line for a log."""
        left = (
            f"; {self.n_missing} images and prompts left to other parts" if self.n_missing else ""
        )
        return (
            f"{self.n_encoded} images encoded, {self.n_reused} reused, "
            f"{self.dataset.n_quarantined} quarantined{left}"
        )

    def to_arrow(self) -> pa.Table:
        """The images with their features as stored, not normalised; all are read into memory.

        Returns:
            One row an image, sorted by path: `image_sha256` in hex, `path` relative to the folder
            of the dataset, `label`, `class_name`, `split`, and `feature`, a fixed-size list of d
            float32 numbers. Augmented views are left out.

        Raises:
            NotStoredError: features of images are left to other parts, or were removed.
            FeatureCacheError: a file of the store is damaged.
        """
        store = FeatureStore(self.dataset.root, self.encoder)
        features = store.read_images(self.dataset.index.image_sha256)
        flat = pa.array(features.astype(np.float32, copy=False).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
        return self._images().append_column("feature", column)

    def _shown(self) -> pa.Table:
        return self._images().drop_columns(["image_sha256"])

    def _images(self) -> pa.Table:
        index, names = self.dataset.index, self.dataset.class_names
        return pa.table(
            {
                "image_sha256": [digest.hex() for digest in index.image_sha256],
                "path": list(index.paths),
                "label": index.labels,
                "class_name": [names[label] for label in index.labels],
                "split": list(index.splits),
            }
        )


def encode_dataset(
    dataset: IndexedDataset,
    encoding: Encoding,
    *,
    view_rows: Sequence[int] | None = None,
    part: Part | None = None,
    reporter: Reporter,
) -> EncodedDataset:
    """Encode what the store lacks; a stored feature is never encoded again.

    Features that were imported are checked for completeness only. A damaged file of features is set
    aside, and its features are encoded again.

    Args:
        dataset: an indexed dataset.
        encoding: the encoder and the views.
        view_rows: the rows of the images that get augmented views; all when None.
        part: encode the images whose digests lie in this part and no others; the first part has the
            prompts as well, and small files are left for a call without `part` to merge.
        reporter: where to report progress and damaged files.

    Raises:
        EncoderError: the model cannot be loaded.
        ImageError: an image file changed or vanished after it was indexed.
        EncoderError: a feature is infinite or NaN.
        NotStoredError: some imported features are missing.
    """
    if dataset.is_imported:
        return _imported(dataset, views=encoding.views, view_rows=view_rows)
    everything = _wanted_views(dataset.index, encoding, view_rows)
    wanted = everything if part is None else part.take_by_digest(everything)
    prompts = [] if part and part.number else dataset.prompts
    store, facts = _find_store(dataset, encoding, wanted, prompts, reporter)
    made = _encode_missing(encoding, store, dataset, wanted=wanted, reporter=reporter)
    n_prompts = _encode_prompts(encoding, store, prompts, reporter)
    n_missing = 0
    if part is None:
        merge_small_files(store, reporter)
    else:
        n_missing = sum(map(len, _missing(store, everything).values()))
        n_missing += len(store.missing_prompts(dataset.prompts))
    return EncodedDataset(
        dataset=dataset,
        model=encoding.model_name,
        encoder=facts.fingerprint,
        precision=encoding.precision,
        logit_scale=facts.logit_scale,
        logit_bias=facts.logit_bias,
        n_reused=made.n_reused,
        n_encoded=made.n_encoded,
        n_prompts_encoded=n_prompts,
        seconds=made.seconds,
        augmented_views=tuple(encoding.view_numbers[1:]),
        notes=encoding.encoder.notes if encoding.is_loaded else (),
        n_missing=n_missing,
    )


def encode_images(
    part: Part,
    *,
    dataset: IndexedDataset,
    encoding: Encoding,
    view_rows: Sequence[int] | None = None,
    reporter: Reporter,
) -> EncodedPart:
    """Encode the images of a part that have no stored feature; prompts are left out.

    Args:
        part: range of the images, in the order of the index.
        dataset: an indexed dataset, not an imported one.
        encoding: the encoder and the views.
        view_rows: the rows of the images that get augmented views; all when None.
        reporter: where to report progress and damaged files.

    Raises:
        EncoderError: the model cannot be loaded.
        ImageError: an image file changed or vanished after it was indexed.
        EncoderError: a feature is infinite or NaN.
    """
    wanted = part.take(_wanted_views(dataset.index, encoding, view_rows))
    store, _ = _find_store(dataset, encoding, wanted, [], reporter)
    return _encode_missing(encoding, store, dataset, wanted=wanted, reporter=reporter)


def _find_store(
    dataset: IndexedDataset,
    encoding: Encoding,
    wanted: Mapping[bytes, tuple[int, ...]],
    prompts: list[str],
    reporter: Reporter,
) -> tuple[FeatureStore, EncoderFacts]:
    """The store of the encoder; the encoder is loaded only if something is to be encoded."""
    known = encoding.known
    if known and not encoding.is_loaded:
        store = FeatureStore(
            dataset.root, known.fingerprint, on_corruption=reporter.quarantine_file
        )
        is_complete = not _missing(store, wanted) and not store.missing_prompts(prompts)
        if is_complete:
            return store, known
    if not encoding.is_loaded:
        for note in encoding.encoder.notes:
            reporter.log(f"{encoding.model_name}: {note}")
    store = FeatureStore(
        dataset.root, encoding.encoder.fingerprint, on_corruption=reporter.quarantine_file
    )
    store.description()  # reports a damaged file, which writing would replace in silence
    return store, encoding.describe(store)


def _encode_missing(
    encoding: Encoding,
    store: FeatureStore,
    dataset: IndexedDataset,
    *,
    wanted: Mapping[bytes, tuple[int, ...]],
    reporter: Reporter,
) -> EncodedPart:
    """Find what is missing, encode it and write it."""
    index = dataset.index
    missing = _missing(store, wanted)
    what = f"{dataset.name} with {encoding.model_name}"
    with encoder_slot(what, reporter) if missing else nullcontext():
        # Another process may have encoded the same images while this one waited.
        missing = missing and _missing(store, wanted)
        paths = dict(zip(index.image_sha256, index.paths, strict=True)) if missing else {}
        todo = [WantedViews(paths[digest], digest, lacking) for digest, lacking in missing.items()]
        n_missing = sum(len(each.views) for each in todo)
        start = time.perf_counter()
        if todo:
            _encode_images(encoding, store, dataset, todo, reporter=reporter)
    return EncodedPart(
        n_encoded=n_missing,
        n_reused=sum(map(len, wanted.values())) - n_missing,
        seconds=time.perf_counter() - start if todo else 0.0,
    )


def _wanted_views(
    index: DatasetIndex, encoding: Encoding, view_rows: Sequence[int] | None
) -> dict[bytes, tuple[int, ...]]:
    """The views that each distinct image is to have."""
    everything = tuple(encoding.view_numbers)
    if view_rows is None:
        return dict.fromkeys(index.image_sha256, everything)
    chosen = {index.image_sha256[row] for row in view_rows}
    return {digest: everything if digest in chosen else (0,) for digest in index.image_sha256}


def _missing(
    store: FeatureStore, wanted: Mapping[bytes, tuple[int, ...]]
) -> dict[bytes, tuple[int, ...]]:
    """The views that are not stored, by image; one query for all images with equal views."""
    groups: dict[tuple[int, ...], list[bytes]] = {}
    for digest, views in wanted.items():
        groups.setdefault(views, []).append(digest)
    missing: dict[bytes, tuple[int, ...]] = {}
    for views, digests in groups.items():
        missing |= store.missing_views(digests, views=views)
    return missing


def _encode_images(
    encoding: Encoding,
    store: FeatureStore,
    dataset: IndexedDataset,
    wanted: list[WantedViews],
    *,
    reporter: Reporter,
) -> None:
    encoder, processes = encoding.encoder, encoding.processes
    total = sum(len(each.views) for each in wanted)
    loaded = prefetch(
        dataset.folder,
        wanted,
        geometry=encoder.geometry,
        processes=processes,
        options=dataset.read,
    )
    with (
        reporter.progress(f"encoding with {encoder.name}", total=total, unit="images") as advance,
        FeatureWriter(encoder, store, advance) as writer,
    ):
        for each in loaded:
            writer.add(each)


def _encode_prompts(
    encoding: Encoding, store: FeatureStore, prompts: list[str], reporter: Reporter
) -> int:
    if not store.missing_prompts(prompts):
        return 0
    encoder = encoding.encoder
    with encoder_slot(f"prompts with {encoder.name}", reporter):
        missing = store.missing_prompts(prompts)  # another process may have encoded them since
        if missing:
            store.append_prompts(missing, encoder.encode_prompts(missing))
    return len(missing)


def merge_small_files(store: FeatureStore, reporter: Reporter) -> None:
    """Merge the small files of an encoder's features where they are many."""
    for folder in stored_folders(store.root):
        if folder.owner == store.encoder and folder.has_features:
            compact_folder(
                folder, at_least=FILES_WORTH_MERGING, on_corruption=reporter.quarantine_file
            )


def _imported(
    dataset: IndexedDataset, *, views: int, view_rows: Sequence[int] | None
) -> EncodedDataset:
    """A reference to the features that the import stored."""
    found = find_imported(dataset.root, dataset.name)
    found.check_complete()
    return EncodedDataset(
        dataset=dataset,
        model=found.label,
        encoder=found.encoder,
        precision=found.precision,
        logit_scale=found.logit_scale,
        logit_bias=found.logit_bias,
        n_reused=found.n_images,
        n_encoded=0,
        n_prompts_encoded=0,
        seconds=0.0,
        augmented_views=_imported_views(dataset, found.encoder, views, view_rows),
    )


def _imported_views(
    dataset: IndexedDataset, encoder: str, views: int, view_rows: Sequence[int] | None
) -> tuple[int, ...]:
    """The leading augmented views that are stored for every image, up to the first gap."""
    rows = range(len(dataset.index)) if view_rows is None else view_rows
    digests = [dataset.index.image_sha256[row] for row in rows]
    store = FeatureStore(dataset.root, encoder)
    numbers = augmented_views(views)
    return tuple(takewhile(lambda view: not store.missing_images(digests, view=view), numbers))
