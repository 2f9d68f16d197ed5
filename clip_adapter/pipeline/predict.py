"""Classifies images with a trained classifier, through the feature cache."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt8

from clip_adapter.encoders.features import can_be_normalised
from clip_adapter.errors import UnreadableImageError
from clip_adapter.images import ReadOptions, decode_image
from clip_adapter.pipeline.encode import merge_small_files
from clip_adapter.pipeline.encoder_lock import encoder_slot
from clip_adapter.pipeline.image_inputs import Content, ImageGroup, find_images
from clip_adapter.pipeline.load import ImageClassifier, load
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import PredictRequest, accepts
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.settings import Settings, check_writable
from feature_cache import FeatureStore, Location

if TYPE_CHECKING:
    from clip_adapter.images import Geometry

IMAGES_AT_ONCE = 512
"""Largest number of images that are read, encoded and classified together."""
BYTES_AT_ONCE = 128 * 2**20
"""Size of files at which fewer images are taken together."""

Named = tuple[str, Content]


@dataclass
class FeatureReader:
    """Features of images given as bytes, from the store where it has them, else encoded.

    Attributes:
        classifier: the classifier whose encoder encodes.
        root: location of the store; None if nothing is read from it or written to it.
        max_pixels: number of pixels above which an image is unreadable.
        reporter: where to report damaged files and what is waited for.
        n_encoded: number of distinct images that were encoded.
        n_reused: number of distinct images whose feature was stored already.
    """

    classifier: ImageClassifier
    root: Location | None
    max_pixels: int
    reporter: Reporter
    n_encoded: int = 0
    n_reused: int = 0
    _seen: set[bytes] = field(default_factory=set, repr=False)

    def read(
        self, contents: Sequence[Content]
    ) -> list[Float[np.ndarray, " d"] | UnreadableImageError]:
        """The raw feature of each image, or why it has none, in order.

        Raises:
            EncoderError: the encoder cannot be loaded.
            DataError: the encoder is another than the classifier's.
            FeatureCacheError: the store cannot be read or written.
        """
        found: dict[bytes, Any] = {}
        digests = [
            hashlib.sha256(each).digest() if isinstance(each, bytes) else each for each in contents
        ]
        images = {
            digest: content
            for digest, content in zip(digests, contents, strict=True)
            if isinstance(digest, bytes)
        }
        stored = self._stored(list(images))
        missing = {digest: images[digest] for digest in images if digest not in stored}
        found = {**stored, **self._encode(missing)}
        self.n_reused += len(stored.keys() - self._seen)
        self._seen |= images.keys()
        return [found[each] if isinstance(each, bytes) else each for each in digests]

    def read_prompts(self, prompts: list[str]) -> Float[np.ndarray, "n d"]:
        """The raw text features of prompts, in order; those that were not stored are stored now.

        Raises:
            EncoderError: the encoder cannot be loaded.
            DataError: the encoder is another than the classifier's.
            FeatureCacheError: the store cannot be read or written.
        """
        store = self._store
        missing = prompts if store is None else store.missing_prompts(prompts)
        if missing:
            encoder = self.classifier.encoder
            with encoder_slot(f"prompts with {encoder.name}", self.reporter):
                features = encoder.encode_prompts(missing)
            if store is None:
                return features
            if self.classifier.encoding is not None:
                self.classifier.encoding.describe(store)
            store.append_prompts(missing, features)
        return cast("FeatureStore", store).read_prompts(prompts)

    @property
    def _store(self) -> FeatureStore | None:
        encoder = self.classifier.saved.encoder
        if self.root is None or not encoder:
            return None
        return FeatureStore(self.root, encoder, on_corruption=self.reporter.quarantine_file)

    def _stored(self, digests: Sequence[bytes]) -> dict[bytes, Float[np.ndarray, " d"]]:
        store = self._store
        if store is None or not digests:
            return {}
        missing = set(store.missing_images(digests))
        known = [digest for digest in digests if digest not in missing]
        if not known:
            return {}
        features = store.read_images(known).astype(np.float32, copy=False)
        return dict(zip(known, features, strict=True))

    def _encode(self, images: dict[bytes, Any]) -> dict[bytes, Any]:
        """The features of images that are not stored, which are stored, or why they have none."""
        unreadable = self._leading_unreadable(images)
        images = {key: each for key, each in images.items() if key not in unreadable}
        if not images:
            return unreadable
        encoder, store = self.classifier.encoder, self._store
        decode = partial(_decode, geometry=encoder.geometry, max_pixels=self.max_pixels)
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
            decoded = dict(zip(images, pool.map(decode, images.values()), strict=True))
        found: dict[bytes, Any] = {**unreadable, **decoded}
        usable = [key for key, each in decoded.items() if isinstance(each, np.ndarray)]
        if not usable:
            return found
        with encoder_slot(f"images with {encoder.name}", self.reporter):
            features = encoder.encode_images(np.stack([found[key] for key in usable]))
        is_good = can_be_normalised(features)
        good = [key for key, is_so in zip(usable, is_good, strict=True) if is_so]
        found |= dict.fromkeys(
            set(usable) - set(good),
            UnreadableImageError(f"{encoder.name} makes zero, infinity or NaN of it"),
        )
        if store is not None and good:
            if not self.n_encoded and self.classifier.encoding is not None:
                self.classifier.encoding.describe(store)
            store.append_images(good, features[is_good])
        self.n_encoded += len(good)
        return found | dict(zip(good, features[is_good].astype(np.float32), strict=True))

    def _leading_unreadable(self, images: dict[bytes, Any]) -> dict[bytes, Any]:
        """The images before the first that decodes: if none does, the encoder need not be loaded."""
        found: dict[bytes, Any] = {}
        for digest, content in () if self.n_encoded else images.items():
            try:
                decode_image(content, max_pixels=self.max_pixels)
            except UnreadableImageError as error:
                found[digest] = error
            else:
                break
        return found

    def finish(self) -> None:
        """Merge the small files that were written, where they are many."""
        store = self._store
        if store is not None and self.n_encoded:
            merge_small_files(store, self.reporter)


def _decode(
    content: bytes, *, geometry: "Geometry", max_pixels: int
) -> UInt8[np.ndarray, "h w 3"] | UnreadableImageError:
    try:
        picture = decode_image(content, max_pixels=max_pixels)
    except UnreadableImageError as error:
        return error
    # The model's own view is the same for every digest.
    return geometry.pixels(picture, image_sha256=b"\0" * 32)


@dataclass(frozen=True, kw_only=True)
class Predictions(TabularResult):
    """The predicted classes of images.

    Attributes:
        table: one row an image, in the order of the request.
        classifier: method and dataset of the classifier.
        n_encoded: number of distinct images that were encoded now.
        n_reused: number of distinct images whose feature was stored already.
        n_excluded: number of other files in the folders and archives, which are no images.
    """

    table: pa.Table
    classifier: str
    n_encoded: int
    n_reused: int
    n_excluded: int = 0

    @property
    def n_unreadable(self) -> int:
        """Number of images that could not be read."""
        return len(self.table) - int(self.table["error"].null_count)

    @property
    def summary(self) -> str:
        """One line for a log."""
        others = f", {self.n_excluded:,} other files" if self.n_excluded else ""
        return (
            f"{len(self.table):,} images classified by {self.classifier}: {self.n_encoded:,} encoded, "
            f"{self.n_reused:,} reused, {self.n_unreadable:,} unreadable{others}"
        )

    def to_arrow(self) -> pa.Table:
        """The predictions as a table.

        Returns:
            One row an image, in the order of the request: `path`; `predicted`, the most probable class,
            null for an unreadable image and below `min_confidence`; `confidence`, its probability
            after the temperature; with `top` above 1 `predicted_2`, `confidence_2` and so on; and
            `error`, why an image could not be read, else null.
        """
        return self.table

    def _repr_html_(self) -> str:
        """The summary and the first images with their classes, for a notebook."""
        from clip_adapter.report.prediction_grid import grid_html  # noqa: PLC0415  # jinja2

        return grid_html(self.summary, self.table)


@accepts(PredictRequest)
def predict(
    request: PredictRequest,
    *,
    listed: Sequence[str] = (),
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> Predictions:
    """Classify images; an image whose feature is stored is not encoded again.

    Returns:
        One row an image, in the order of the request; an unreadable image is a row with the reason.

    Raises:
        ClipAdapterError: the classifier, its encoder or a parameter cannot be used; the message says why.
        FileNotFoundError: a named file is missing, or a pattern matches nothing.
        FeatureCacheError: the store cannot be read or written.
    """
    prediction = Prediction(request, listed=listed, reporter=reporter)
    return prediction.result(pa.concat_tables(prediction.tables()))


class Prediction:
    """A prediction request that is under way; its tables come as they are computed.

    Attributes:
        classifier: the classifier, with the classes that the request adds by name.
        groups: the images by place.
    """

    def __init__(
        self,
        request: PredictRequest,
        *,
        listed: Sequence[str] = (),
        reporter: Reporter = Reporter(),  # noqa: B008  # has no state
    ) -> None:
        """Load the classifier and list the images.

        Args:
            request: names the classifier and the images.
            listed: paths that stand for "-".
            reporter: where to report progress.
        """
        root = request.location
        self.classifier: ImageClassifier = load(
            request.classifier,
            root=request.root,
            model=request.model,
            device=request.device,
            reporter=reporter,
        )
        read = ReadOptions(
            follow_links=Settings.folder(request.follow_links), max_pixels=request.max_pixels
        )
        self.groups: list[ImageGroup] = find_images(request.names, listed=listed, read=read)
        self._request, self._reporter = request, reporter
        self._features = FeatureReader(
            self.classifier, root if request.cache else None, request.max_pixels, reporter
        )
        if request.cache and isinstance(root, Path):
            check_writable(root)
        if request.also:
            self.classifier = self.classifier.with_classes(
                request.also, encode_prompts=self._features.read_prompts
            )

    @property
    def n_images(self) -> int:
        """Number of images, readable or not."""
        return sum(len(group.names) for group in self.groups)

    def tables(self) -> Iterator[pa.Table]:
        """Classify all images; yields tables with the columns of `Predictions.to_arrow`, at least one."""
        with self._reporter.progress("predicting", total=self.n_images, unit="images") as advance:
            for batch in _batches(self.groups):
                yield self._predict(batch)
                advance(len(batch))
        self._features.finish()

    def result(self, table: pa.Table) -> Predictions:
        """The whole result, from its tables joined in order."""
        return Predictions(
            table=table,
            classifier=self.classifier.title,
            n_encoded=self._features.n_encoded,
            n_reused=self._features.n_reused,
            n_excluded=sum(group.n_excluded for group in self.groups),
        )

    def _predict(self, batch: Sequence[Named]) -> pa.Table:
        names, contents = zip(*batch, strict=True)
        features = self._features.read(contents)
        rows = [row for row, each in enumerate(features) if isinstance(each, np.ndarray)]
        n_top = min(self._request.top, len(self.classifier.class_names))
        # A name that is no Unicode is shown with its bytes escaped.
        shown = [name.encode("utf-8", "backslashreplace").decode() for name in names]
        columns: dict[str, list[Any]] = {"path": shown}
        for place, (classes, values) in enumerate(self._top(features, rows, n_top), start=1):
            end = "" if place == 1 else f"_{place}"
            columns[f"predicted{end}"] = classes
            columns[f"confidence{end}"] = values
        columns["error"] = [
            each.reason if isinstance(each, UnreadableImageError) else None for each in features
        ]
        return pa.table(columns, schema=schema(n_top))

    def _top(
        self, features: Sequence[Any], rows: Sequence[int], n_top: int
    ) -> Iterator[tuple[list[str | None], list[float | None]]]:
        """Classes and probabilities of each rank, with None in the rows that have no feature."""
        n, least = len(features), self._request.min_confidence
        probabilities = np.zeros((0, n_top), dtype=np.float32)
        order = np.zeros((0, n_top), dtype=np.int64)
        if rows:
            stacked = np.stack([features[row] for row in rows])
            probabilities = self.classifier.saved.probabilities(stacked)
            # Stable, so that of equal probabilities the first class ranks higher.
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, :n_top]
        names = self.classifier.class_names
        for rank in range(n_top):
            classes: list[str | None] = [None] * n
            values: list[float | None] = [None] * n
            for place, row in enumerate(rows):
                label = int(order[place, rank])
                values[row] = float(probabilities[place, label])
                is_told = probabilities[place, order[place, 0]] >= least
                classes[row] = names[label] if is_told or rank > 0 else None
            yield classes, values


def schema(n_top: int) -> pa.Schema:
    """The columns of `Predictions.to_arrow` for the `n_top` most probable classes."""
    ends = ["", *(f"_{rank}" for rank in range(2, n_top + 1))]
    ranked = [
        column
        for end in ends
        for column in (
            pa.field(f"predicted{end}", pa.string()),
            pa.field(f"confidence{end}", pa.float32()),
        )
    ]
    return pa.schema([pa.field("path", pa.string()), *ranked, pa.field("error", pa.string())])


def _batches(groups: Iterable[ImageGroup]) -> Iterator[list[Named]]:
    """The images in order, as many at once as fit into memory; a single empty batch is never made."""
    batch: list[Named] = []
    n_bytes = 0
    for name, content in chain.from_iterable(
        zip(group.names, group.contents(), strict=True) for group in groups
    ):
        batch.append((name, content))
        n_bytes += len(content) if isinstance(content, bytes) else 0
        if len(batch) >= IMAGES_AT_ONCE or n_bytes >= BYTES_AT_ONCE:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch
