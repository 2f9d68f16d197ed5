"""Features that a frozen encoder computed for images and prompts, stored to be computed only once.

A feature is identified by the encoder and the content of the image file (and its view), or by the
encoder and the prompt. Features are stored before any normalisation.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import InvalidInputError, NotStoredError
from feature_cache.feature_table import Features, FeatureTable, check_features, feature_type
from feature_cache.parquet_file import list_file_entries, write_table
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, raise_on_corruption, read_tables

IMAGE = pa.field("image_sha256", pa.binary(32), nullable=False)
PROMPT = pa.field("prompt", pa.string(), nullable=False)
DESCRIPTION_SCHEMA = pa.schema(
    [
        pa.field("field", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
    ]
)
_DIGEST_BYTES = 32
_MAX_VIEW = 2**15 - 1
_ENCODER = re.compile(r"[0-9a-f]{8,64}")
_Key = TypeVar("_Key", bytes, str)


@dataclass(frozen=True)
class FeatureStatistics:
    """Contents of one encoder's store in numbers.

    Attributes:
        n_images: number of distinct images, whatever the number of their views.
        n_views: number of distinct features of images, one for each image and view.
        n_prompts: number of distinct prompts.
        n_files: number of complete files, including the encoder's description.
        size_bytes: total size of these files.
        dim: width of a feature; 0 if there is none.
    """

    n_images: int
    n_views: int
    n_prompts: int
    n_files: int
    size_bytes: int
    dim: int


@dataclass(frozen=True)
class FeatureStore:
    """Features of one encoder, in `<root>/features/<encoder>`.

    All features of a store have the same width and precision, float32 or float16. Every method that
    reads verifies the files it reads. By default it raises CorruptFileError, NewerFormatError,
    MisplacedFileError or WrongSchemaError, each with the name of the file; `on_corruption` may
    continue without the file instead.

    Attributes:
        root: root of the store.
        encoder: fingerprint of the encoder, 8 to 64 lower-case hexadecimal digits.
        on_corruption: handler of a file that cannot be used.
    """

    root: Location
    encoder: str
    on_corruption: OnCorruption = field(default=raise_on_corruption, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not _ENCODER.fullmatch(self.encoder):
            raise InvalidInputError(
                f"encoder fingerprint is {self.encoder!r}, expected 8 to 64 lower-case hexadecimal "
                "digits"
            )

    @property
    def folder(self) -> Location:
        """Folder of the store; it may not exist yet."""
        return self.root / "features" / self.encoder

    def append_images(
        self, image_sha256: Sequence[bytes], features: Features, *, view: int | Sequence[int] = 0
    ) -> Location:
        """Store the features of n images as one file.

        Args:
            image_sha256: SHA-256 digest of each image file, as 32 bytes.
            features: matrix `[n, d]` of float32 or float16, before normalisation.
            view: number of the view, for each feature or for all: 0 is the evaluation view, v >= 1
                the v-th training augmentation.

        Raises:
            InvalidInputError: a digest has another length, a view is out of range, n is 0, or the
                features have another shape, another element type or another width than the store,
                or are not finite.
        """
        views = _check_views([view] * len(image_sha256) if isinstance(view, int) else view)
        keys = _image_keys(image_sha256)
        check_features(features, rows=len(keys))
        self._check_fits(feature_type(features))
        return self._images.append(keys, features, views=views)

    def missing_images(self, image_sha256: Sequence[bytes], *, view: int = 0) -> list[bytes]:
        """Return the images without a feature, in order and each once."""
        held = self._images.holds(_image_keys(image_sha256), views=_check_views([view]))[0]
        return _unique(image_sha256, ~held)

    def missing_views(
        self, image_sha256: Sequence[bytes], *, views: Sequence[int]
    ) -> dict[bytes, tuple[int, ...]]:
        """Return the views without a feature of each image that lacks one, in order.

        Raises:
            InvalidInputError: a digest has another length, or a view is out of range.
        """
        held = self._images.holds(_image_keys(image_sha256), views=_check_views(views))
        lacking = np.flatnonzero(~held.all(axis=0))
        return {
            image_sha256[place]: tuple(compress(views, ~held[:, place]))
            for place in lacking.tolist()
        }

    def read_images(self, image_sha256: Sequence[bytes], *, view: int = 0) -> Features:
        """Read the features `[n, d]` of n images in their order; images may repeat.

        Raises:
            NotStoredError: some features are not stored; the message says how many.
        """
        [view] = _check_views([view])
        keys = _image_keys(image_sha256)
        return self._complete(keys, *self._images.gather(keys, view=view))

    def image_blocks(
        self, image_sha256: Sequence[bytes], *, view: int = 0
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield the features of n images a few MiB at a time, in the order in which they are stored.

        An image without a feature is left out. Memory holds one block and a few files, however many
        images there are. A block may share memory with its file: copy what is to be kept.

        Returns:
            Pairs of places in `image_sha256`, `[m]`, and the features there, `[m, d]`.

        Raises:
            InvalidInputError: a digest has another length, or the view is out of range.
        """
        [view] = _check_views([view])
        return self._images.blocks(_image_keys(image_sha256), view=view)

    def append_prompts(self, prompts: Sequence[str], features: Features) -> Location:
        """Store the features `[n, d]` of n prompts as one file.

        Raises:
            InvalidInputError: a prompt is not valid text, n is 0, or the features have another
                shape, another element type or another width than the store, or are not finite.
        """
        keys = _prompt_keys(prompts)
        check_features(features, rows=len(keys))
        self._check_fits(feature_type(features))
        return self._prompts.append(keys, features, views=[])

    def missing_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return the prompts without a feature, in order and each once."""
        held = self._prompts.holds(_prompt_keys(prompts), views=[0])[0]
        return _unique(prompts, ~held)

    def read_prompts(self, prompts: Sequence[str]) -> Features:
        """Read the features `[n, d]` of n prompts in their order; prompts may repeat.

        Raises:
            NotStoredError: some features are not stored; the message says how many.
        """
        keys = _prompt_keys(prompts)
        return self._complete(keys, *self._prompts.gather(keys, view=0))

    def describe(self, fields: Mapping[str, str]) -> Location:
        """Record properties of the encoder, such as its model, weights digest and preprocessing."""
        names = sorted(fields)
        columns = [pa.array(names, pa.string()), pa.array([fields[name] for name in names])]
        table = pa.Table.from_arrays(columns, schema=DESCRIPTION_SCHEMA)
        return write_table(self.folder / "encoder", table, kind="encoder", owner=self.encoder)

    def description(self) -> dict[str, str]:
        """Return the recorded properties, the first value of each; empty if none were recorded."""
        return {name: values[0] for name, values in self.descriptions().items()}

    def descriptions(self) -> dict[str, list[str]]:
        """Return all recorded values of each property: one model may have several names."""
        table = read_tables(
            self.folder / "encoder",
            kind="encoder",
            schema=DESCRIPTION_SCHEMA,
            owner=self.encoder,
            on_corruption=self.on_corruption,
        )
        known: dict[str, list[str]] = {}
        for row in table.to_pylist():
            values = known.setdefault(row["field"], [])
            values += [] if row["value"] in values else [row["value"]]
        return dict(sorted(known.items()))

    def statistics(self, *, progress: Callable[[int], None] | None = None) -> FeatureStatistics:
        """Count the contents of the store; reads every file of features.

        Args:
            progress: function that is called with the size in bytes of each file of features.
        """
        keys = self._images.keys(progress=progress)
        folders = (self._images.folder, self._prompts.folder, self.folder / "encoder")
        entries = [entry for folder in folders for entry in list_file_entries(folder)]
        kind = self._feature_type()
        return FeatureStatistics(
            n_images=_count_distinct(keys.column("image_sha256")),
            n_views=keys.group_by(keys.column_names).aggregate([]).num_rows,
            n_prompts=_count_distinct(self._prompts.keys(progress=progress).column(0)),
            n_files=len(entries),
            size_bytes=sum(entry.size_bytes for entry in entries),
            dim=0 if kind is None else kind.list_size,
        )

    @cached_property
    def _images(self) -> FeatureTable:
        return self._table("image", "image-features", key=IMAGE, has_views=True)

    @cached_property
    def _prompts(self) -> FeatureTable:
        return self._table("text", "text-features", key=PROMPT, has_views=False)

    def _table(self, name: str, kind: str, *, key: pa.Field, has_views: bool) -> FeatureTable:
        return FeatureTable(
            self.folder / name,
            kind,
            key,
            owner=self.encoder,
            has_views=has_views,
            on_corruption=self.on_corruption,
        )

    def _feature_type(self) -> pa.DataType | None:
        kind = self._images.feature_type()
        return self._prompts.feature_type() if kind is None else kind

    def _check_fits(self, new: pa.DataType) -> None:
        held = self._feature_type()
        if held is None or (held.list_size, held.value_type) == (new.list_size, new.value_type):
            return
        raise InvalidInputError(
            f"features are {new.value_type}, width {new.list_size}; encoder "
            f"{self.encoder[:12]} has {held.value_type}, width {held.list_size}: "
            "another model or precision is another encoder fingerprint; nothing was written"
        )

    def _complete(
        self, keys: pa.Array, features: Features, found: npt.NDArray[np.bool_]
    ) -> Features:
        if not found.all():
            missing = keys.filter(pa.array(~found))
            raise NotStoredError(
                f"{_count_distinct(missing)} of {_count_distinct(keys)} features are missing for "
                f"encoder {self.encoder[:12]}: extract them before reading"
            )
        if not len(keys) and (kind := self._feature_type()) is not None:
            return np.empty((0, kind.list_size), kind.value_type.to_pandas_dtype())
        return features


def stores(root: Location) -> list[FeatureStore]:
    """Return the store of every encoder under a root, sorted by fingerprint."""
    names = storage.list_folders(root / "features")
    return [FeatureStore(root, name) for name in names if _ENCODER.fullmatch(name)]


def _image_keys(image_sha256: Sequence[bytes]) -> pa.Array:
    for position, digest in enumerate(image_sha256):
        if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES:
            raise InvalidInputError(
                f"image digest {position} is {digest!r:.80}, expected {_DIGEST_BYTES} bytes: "
                "the raw SHA-256 of the image file, not its hexadecimal form"
            )
    return pa.array(image_sha256, IMAGE.type)


def _prompt_keys(prompts: Sequence[str]) -> pa.Array:
    if isinstance(prompts, str):
        raise InvalidInputError(
            f"prompts are the one string {prompts!r}, expected a list of strings"
        )
    for position, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not _is_unicode(prompt):
            raise InvalidInputError(f"prompt {position} is {prompt!r:.80}, expected valid text")
    return pa.array(prompts, PROMPT.type)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _check_views(views: Sequence[int]) -> list[int]:
    for view in views:
        if not 0 <= view <= _MAX_VIEW:
            raise InvalidInputError(f"view is {view}, expected 0 to {_MAX_VIEW}")
    return [int(view) for view in views]


def _unique(keys: Sequence[_Key], chosen: npt.NDArray[np.bool_]) -> list[_Key]:
    return list(dict.fromkeys(compress(keys, chosen)))


def _count_distinct(keys: pa.Array | pa.ChunkedArray) -> int:
    import pyarrow.compute as pc  # noqa: PLC0415  # takes 0.1 s to import

    return int(pc.count_distinct(keys).as_py())
