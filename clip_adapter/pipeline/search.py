"""Search: the images of indexed datasets that are most like a text, an image or a feature."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from clip_adapter.errors import ParameterError
from clip_adapter.pipeline.datasets import stored_name, stored_names, stored_state
from clip_adapter.pipeline.nearest import (
    BLOCK_BYTES,
    HELD_BLOCK_BYTES,
    FeatureBlock,
    NearestRows,
    find_nearest,
    unit_blocks,
)
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import Place
from clip_adapter.pipeline.search_query import QueryEncoder, QueryKind, parse_query
from clip_adapter.pipeline.stored_encoders import StoredEncoder, choose_encoder
from clip_adapter.pipeline.tables import TabularResult
from clip_adapter.runs import RunStoreError
from clip_adapter.settings import Settings
from feature_cache import IndexStore, Location, NotStoredError, storage

_COLUMNS = ("path", "dataset", "class_name", "split", "image_sha256")


@dataclass(frozen=True, kw_only=True)
class SearchResult(TabularResult):
    """The images most like a query, best first.

    Attributes:
        query: the query in a few words.
        root: folder or URL of the store.
        model: name of the encoder's model.
        encoder: fingerprint of the encoder.
        n_compared: number of distinct images that were compared.
        notes: what was chosen or left out, in sentences.
        table: the images, see `to_arrow`.
    """

    query: str
    root: Location
    model: str
    encoder: str
    n_compared: int
    notes: tuple[str, ...]
    table: pa.Table = field(repr=False)

    @property
    def summary(self) -> list[str]:
        """What was searched for among how many images, and the notes."""
        title = (
            f"{len(self.table):,} of {self.n_compared:,} images most like {self.query}, "
            f"by {self.model} ({self.encoder[:8]})"
        )
        return [title, *self.notes]

    def to_arrow(self) -> pa.Table:
        """The images that were found.

        Returns:
            One row a distinct image: `rank` from 1, `cosine`, `path` relative to the folder of the
            dataset, `dataset`, `class_name`, `split`, `copies`, the number of other paths with the
            same content, and `image_sha256` in hex. Equal cosines are in the order of dataset and
            path.
        """
        return self.table

    def _shown(self) -> pa.Table:
        return self.table.drop_columns(["image_sha256"])


@dataclass(frozen=True, kw_only=True)
class SearchedImages:
    """The distinct images of some datasets, in the order of the datasets and their paths.

    Attributes:
        table: first path of each image, with its dataset, class name, split and digest.
        copies: number of other paths of each image.
    """

    table: pa.Table
    copies: Int[np.ndarray, " n"]

    @classmethod
    def read(cls, root: Location, datasets: Sequence[str]) -> "SearchedImages":
        """Read the current indexes of some datasets.

        Raises:
            CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: an index is
                damaged or cannot be understood.
        """
        every = pa.concat_tables([_images_of(root, name) for name in datasets])
        # In the order in which they first occur.
        encoded = every.column("image_sha256").combine_chunks().dictionary_encode()
        numbers = encoded.indices.to_numpy()
        _, first, count = np.unique(numbers, return_index=True, return_counts=True)
        return cls(table=every.take(pa.array(first)), copies=count - 1)

    @cached_property
    def digests(self) -> list[bytes]:
        """The digest of each image."""
        digests: list[bytes] = self.table.column("image_sha256").to_pylist()
        return digests

    def counts(self, of: Bool[np.ndarray, " n"]) -> dict[str, tuple[int, int]]:
        """By dataset, the number of images for which a mask holds, and of all images."""
        names = self.table.column("dataset").combine_chunks().dictionary_encode()
        numbers, n = names.indices.to_numpy(), len(names.dictionary)
        chosen, every = np.bincount(numbers[of], minlength=n), np.bincount(numbers, minlength=n)
        return {
            name: (int(some), int(whole))
            for name, some, whole in zip(names.dictionary.to_pylist(), chosen, every, strict=True)
        }

    def ranked(self, found: NearestRows) -> pa.Table:
        """The rows of a result, as `SearchResult.to_arrow` describes them."""
        rows = self.table.take(pa.array(found.places))
        columns = {name: rows.column(name) for name in _COLUMNS}
        digests = [digest.hex() for digest in columns.pop("image_sha256").to_pylist()]
        return pa.table(
            {
                "rank": np.arange(1, len(rows) + 1),
                "cosine": found.cosines,
                **columns,
                "copies": self.copies[found.places],
                "image_sha256": pa.array(digests, pa.string()),
            }
        )


def _images_of(root: Location, dataset: str) -> pa.Table:
    """The images of a dataset in its current state, in the order of their paths."""
    table = IndexStore(root, dataset).read(stored_state(root, dataset))
    return table.select([*_COLUMNS]).sort_by("path")


@dataclass(frozen=True, kw_only=True)
class ImageSearch:
    """The images of some datasets with the features of one encoder, to be searched many times.

    Make one with `open`. It keeps the state of the store at that time.

    Attributes:
        root: folder or URL of the store.
        images: the images.
        query_encoder: makes the features of queries.
        held: the features in memory; None to read them anew for every query.
        all_datasets: whether the datasets are all those of the store, and not chosen.
        note: why this encoder was chosen; empty if there is no other, or it was named.
    """

    root: Location
    images: SearchedImages
    query_encoder: QueryEncoder
    held: tuple[FeatureBlock, ...] | None = None
    all_datasets: bool = False
    note: str = ""

    @classmethod
    def open(
        cls,
        dataset: str | Sequence[str] | None = None,
        model: str | None = None,
        *,
        root: Place = None,
        device: str = "auto",
        in_memory: bool = True,
        reporter: Reporter = Reporter(),  # noqa: B008  # has no state
    ) -> "ImageSearch":
        """Open datasets of a store for many searches; the encoder is loaded when a query needs it.

        Args:
            dataset: names of one or several datasets, as in the store or as `train` takes them; all
                of the store when None.
            model: name of the encoder's model, or at least eight digits of its fingerprint; when
                None the encoder that was requested last for one of the datasets, else the only one.
            root: folder or URL of the store; else CLIP_ADAPTER_ROOT, else ./clip-adapter-store.
            device: torch device that encodes queries, or "auto".
            in_memory: read the features now and keep them, in 4 bytes a number: 2 GB for a million
                of width 512.
            reporter: where to report that an encoder is loaded.

        Raises:
            RunStoreError: there is no store.
            NotStoredError: a dataset is not indexed, or has no features.
            UnknownNameError: no encoder of that name has stored features.
            ParameterError: several encoders have, and none was requested.
            FeatureCacheError: a file that has to be read is damaged or cannot be understood.
        """
        place = Settings.of(root=root).location
        datasets = _datasets(place, dataset)
        images = SearchedImages.read(place, datasets)
        chosen = choose_encoder(place, datasets=datasets, images=images.digests, model=model)
        encoding = chosen.encoder.encoding(device)
        return cls(
            root=place,
            images=images,
            query_encoder=QueryEncoder(chosen.encoder, encoding, reporter),
            held=_held(chosen.encoder, images) if in_memory else None,
            all_datasets=dataset is None,
            note=chosen.note,
        )

    @property
    def encoder(self) -> StoredEncoder:
        """The encoder whose features are compared."""
        return self.query_encoder.encoder

    def similar(self, query: Any, *, top: int = 20, kind: QueryKind = "auto") -> SearchResult:
        """The images with the largest cosine with a query; the ranking is exact.

        Args:
            query: a text, the path of an image, a picture of Pillow, or a feature `[d]`. A `str` is the
                path of an image if there is such a file, else a text.
            top: number of images; all if there are fewer.
            kind: "text" or "image" to decide of what a `str` is.

        Raises:
            ParameterError: the query is empty or names a file that does not exist, or `top` is not
                positive.
            ImageError: the file or picture is not an image.
            DataError: the feature is zero, not finite, or of another width than those of the images.
            EncoderError: the query has no stored feature, and the encoder cannot be loaded, has
                changed since, or is not known because the features were imported.
            NotStoredError: none of the images has a feature of the encoder.
            FeatureCacheError: a file of the store is damaged or cannot be understood.
        """
        if top < 1:
            raise ParameterError(f"top is {top}: expected 1 or more images")
        parsed = parse_query(query, kind=kind)
        feature = parsed.feature(self.query_encoder)
        blocks = _read(self.encoder, self.images) if self.held is None else self.held
        compared = np.zeros(len(self.images.table), np.bool_)
        found = find_nearest(feature, _marked(blocks, compared), top=top)
        notes = [self.note] if self.note else []
        return SearchResult(
            query=parsed.description,
            root=self.root,
            model=self.encoder.model,
            encoder=self.encoder.store.encoder,
            n_compared=found.n_compared,
            notes=(*notes, *self._left_out(compared)),
            table=self.images.ranked(found),
        )

    def _left_out(self, compared: Bool[np.ndarray, " n"]) -> Iterator[str]:
        """What was not compared, in sentences.

        Raises:
            NotStoredError: nothing was compared.
        """
        model, counts = self.encoder.label, self.images.counts(~compared)
        if not compared.any():
            raise NotStoredError(
                f"none of the {len(compared):,} images of {', '.join(counts)} has a feature of {model}: "
                "`clip-adapter extract` encodes them, or choose another encoder with --model"
            )
        for name, (n_left_out, n) in counts.items():
            if n_left_out and not (self.all_datasets and n_left_out == n):
                yield (
                    f"{n_left_out:,} of {n:,} images of {name} have no usable feature of {model} and "
                    "are not compared: `clip-adapter extract` encodes what is missing"
                )
        others = [name for name, (left_out, n) in counts.items() if left_out == n]
        if self.all_datasets and others:
            yield f"not searched, without features of {model}: {', '.join(others)}"


def similar(
    query: Any,
    *,
    dataset: str | Sequence[str] | None = None,
    model: str | None = None,
    top: int = 20,
    kind: QueryKind = "auto",
    root: Place = None,
    device: str = "auto",
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> SearchResult:
    """The images of indexed datasets that are most like a text, an image or a feature.

    Ranks by the cosine of stored features, exactly. The features are read block by block, so that
    memory does not grow with them; `ImageSearch.open` keeps them in memory for many searches. The
    feature of a text is stored among the prompts, so that the second search of the same words loads
    no encoder; neither does the search for an image that is stored.

    Args:
        query: a text, the path of an image, a picture of Pillow, or a feature `[d]`. A `str` is the
            path of an image if there is such a file, else a text.
        dataset: names of one or several datasets, as in the store or as `train` takes them; all of
            the store when None.
        model: name of the encoder's model, or at least eight digits of its fingerprint; when None
            the encoder that was requested last for one of the datasets, else the only one.
        top: number of images; all if there are fewer.
        kind: "text" or "image" to decide of what a `str` is.
        root: folder or URL of the store; else CLIP_ADAPTER_ROOT, else ./clip-adapter-store.
        device: torch device that encodes the query, or "auto".
        reporter: where to report that an encoder is loaded.

    Raises:
        ClipAdapterError: a query, dataset, model or parameter cannot be used; the message says why.
        FeatureCacheError: a dataset has no index or features, or a file of the store is damaged.
    """
    parsed = parse_query(query, kind=kind)  # refused before anything is read
    opened = ImageSearch.open(
        dataset, model, root=root, device=device, in_memory=False, reporter=reporter
    )
    return opened.similar(parsed, top=top)


def _datasets(root: Location, given: str | Sequence[str] | None) -> list[str]:
    """The names in the store of the datasets to search, each once."""
    if not storage.is_folder(root):
        raise RunStoreError.no_store(root)
    if given is None:
        names = stored_names(root)
        if not names:
            raise NotStoredError(
                f"no dataset is indexed in {root}: `clip-adapter extract` indexes and encodes one"
            )
        return names
    wanted = [given] if isinstance(given, str) else list(given)
    if not wanted:
        raise ParameterError("no dataset is named: name one or several, or leave it out for all")
    return list(dict.fromkeys(stored_name(root, name) for name in wanted))


def _read(
    encoder: StoredEncoder, images: SearchedImages, *, at_least: int = BLOCK_BYTES
) -> Iterator[FeatureBlock]:
    return unit_blocks(encoder.store.image_blocks(images.digests), at_least=at_least)


def _held(encoder: StoredEncoder, images: SearchedImages) -> tuple[FeatureBlock, ...]:
    return tuple(_read(encoder, images, at_least=HELD_BLOCK_BYTES))


def _marked(
    blocks: Iterable[FeatureBlock], compared: Bool[np.ndarray, " n"]
) -> Iterator[FeatureBlock]:
    """The blocks; the places of those that were used are marked."""
    for block in blocks:
        compared[block.places] = True
        yield block
