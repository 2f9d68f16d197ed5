"""What a frozen encoder said about images and prompts, kept so that it is asked only once.

A feature is identified by the encoder and the image's bytes (and the view of them), or by the
encoder and the prompt; by nothing else. Features are stored raw, before any normalisation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import (
    MissingFeaturesError,
    UnsafeNameError,
    WrongPrecisionError,
    WrongWidthError,
)
from feature_cache.feature_table import FeatureTable
from feature_cache.files import write_table
from feature_cache.keys import check_encoder, check_view, check_views, image_keys, prompt_keys
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, raise_on_corruption, read_tables
from feature_cache.statistics import FeatureStatistics, count_distinct, summarise
from feature_cache.vectors import Features, check_features, feature_type

_Key = TypeVar("_Key", bytes, str)
IMAGE = pa.field("image_sha256", pa.binary(32), nullable=False)
PROMPT = pa.field("prompt", pa.string(), nullable=False)
DESCRIPTION_SCHEMA = pa.schema(
    [
        pa.field("field", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class FeatureStore:
    """The features of one encoder, under `<root>/features/<encoder>`.

    Every reading method verifies the files it reads and raises CorruptFileError, NewerFormatError,
    WrongKindError or WrongOwnerError, each naming the file, unless `on_corruption` says otherwise. All
    features of a store have one width and one precision, float32 or float16.

    Attributes:
        root: Of everything at rest.
        encoder: The encoder's fingerprint, 8 to 64 lower-case hexadecimal digits.
        on_corruption: What to do about a file that cannot be trusted.
    """

    root: Location
    encoder: str
    on_corruption: OnCorruption = field(default=raise_on_corruption, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_encoder(self.encoder)

    @property
    def folder(self) -> Location:
        """Where the store lies; it may not exist yet."""
        return self.root / "features" / self.encoder

    def append_images(
        self, image_sha256: Sequence[bytes], features: Features, *, view: int | Sequence[int] = 0
    ) -> Location:
        """Store n features as one file.

        Args:
            image_sha256: The raw SHA-256 digests, 32 bytes each, of the image files.
            features: `[n, d]`, float32 or float16, before normalisation.
            view: Of each feature, or of all: 0 is the evaluation view, v >= 1 the v-th training
                augmentation.

        Raises:
            InvalidKeyError: A digest of another length, or a view out of range.
            InvalidFeaturesError: Wrong shape, element type, width for this store, or not finite.
            EmptyTableError: n is 0.
        """
        views = check_views([view] * len(image_sha256) if isinstance(view, int) else view)
        keys = image_keys(image_sha256)
        check_features(features, rows=len(keys))
        self._check_fits(feature_type(features))
        return self._images.append(keys, features, views=views)

    def missing_images(self, image_sha256: Sequence[bytes], *, view: int = 0) -> list[bytes]:
        """Those of the images that have no feature yet, in order, each once."""
        held = self._images.holds(image_keys(image_sha256), views=[check_view(view)])[0]
        return _first_of_each(image_sha256, ~held)

    def missing_views(
        self, image_sha256: Sequence[bytes], *, views: Sequence[int]
    ) -> dict[bytes, tuple[int, ...]]:
        """By image, in order, the views of it that have no feature yet; complete ones are left out.

        Raises:
            InvalidKeyError: A digest of another length, or a view out of range.
        """
        held = self._images.holds(image_keys(image_sha256), views=check_views(views))
        lacking = np.flatnonzero(~held.all(axis=0))
        return {
            image_sha256[place]: tuple(compress(views, ~held[:, place]))
            for place in lacking.tolist()
        }

    def read_images(self, image_sha256: Sequence[bytes], *, view: int = 0) -> Features:
        """The features `[n, d]` of n images in the order asked for; images may repeat.

        Raises:
            MissingFeaturesError: Some are not stored; says how many.
        """
        keys = image_keys(image_sha256)
        return self._checked(keys, *self._images.gather(keys, view=check_view(view)))

    def append_prompts(self, prompts: Sequence[str], features: Features) -> Location:
        """Store the features `[n, d]` of n prompts as one file; raises as `append_images`."""
        keys = prompt_keys(prompts)
        check_features(features, rows=len(keys))
        self._check_fits(feature_type(features))
        return self._prompts.append(keys, features, views=[])

    def missing_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Those of the prompts that have no feature yet, in order, each once."""
        held = self._prompts.holds(prompt_keys(prompts), views=[0])[0]
        return _first_of_each(prompts, ~held)

    def read_prompts(self, prompts: Sequence[str]) -> Features:
        """The features `[n, d]` of n prompts in the order asked for; raises as `read_images`."""
        keys = prompt_keys(prompts)
        return self._checked(keys, *self._prompts.gather(keys, view=0))

    def describe(self, fields: Mapping[str, str]) -> Location:
        """Record what the encoder is, e.g. its model, weights digest and preprocessing."""
        names = sorted(fields)
        columns = [pa.array(names, pa.string()), pa.array([fields[name] for name in names])]
        table = pa.Table.from_arrays(columns, schema=DESCRIPTION_SCHEMA)
        return write_table(self.folder / "encoder", table, kind="encoder", owner=self.encoder)

    def description(self) -> dict[str, str]:
        """What `describe` recorded, empty when nothing was; of two values the first by file."""
        return {name: values[0] for name, values in self.descriptions().items()}

    def descriptions(self) -> dict[str, list[str]]:
        """Every value that `describe` recorded of each field: one model may have several names."""
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
        """Count what the store holds; reads every file of features.

        Args:
            progress: Called after each file of features with its size in bytes.
        """
        return summarise(self._images, self._prompts, self.folder / "encoder", progress=progress)

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
        if held is None:
            return
        found = f"features are {new.value_type}, width {new.list_size}; encoder"
        store = f"{self.encoder[:12]} has {held.value_type}, width {held.list_size}"
        advice = "another model or precision is another encoder fingerprint; nothing was written"
        if new.list_size != held.list_size:
            raise WrongWidthError(f"{found} {store}: {advice}")
        if new.value_type != held.value_type:
            raise WrongPrecisionError(f"{found} {store}: {advice}")

    def _checked(
        self, keys: pa.Array, features: Features, found: npt.NDArray[np.bool_]
    ) -> Features:
        if not found.all():
            missing = keys.filter(pa.array(~found))
            raise MissingFeaturesError(count_distinct(missing), count_distinct(keys), self.encoder)
        if not len(keys) and (kind := self._feature_type()) is not None:
            return np.empty((0, kind.list_size), kind.value_type.to_pandas_dtype())
        return features


def stores(root: Location) -> list[FeatureStore]:
    """The store of every encoder found under `root`, sorted by fingerprint."""
    names = storage.list_folders(root / "features")
    return [FeatureStore(root, name) for name in names if _is_fingerprint(name)]


def _first_of_each(keys: Sequence[_Key], chosen: npt.NDArray[np.bool_]) -> list[_Key]:
    return list(dict.fromkeys(compress(keys, chosen)))


def _is_fingerprint(name: str) -> bool:
    try:
        check_encoder(name)
    except UnsafeNameError:
        return False
    return True
