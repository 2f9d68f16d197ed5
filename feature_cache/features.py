"""What a frozen encoder said about images and prompts, kept so that it is asked only once.

A feature is identified by the encoder and the image's bytes (and the view of them), or by the
encoder and the prompt; by nothing else. Features are stored raw, before any normalisation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_cache.errors import (
    MissingFeaturesError,
    UnsafeNameError,
    WrongPrecisionError,
    WrongWidthError,
)
from feature_cache.files import list_files, read_tables, write_table
from feature_cache.keys import check_encoder, check_view, image_keys, prompt_keys
from feature_cache.shelves import Shelf
from feature_cache.vectors import Features, check_features, feature_type

__all__ = ["FeatureStatistics", "FeatureStore", "stores"]

_Key = TypeVar("_Key", bytes, str)
_IMAGE = pa.field("image_sha256", pa.binary(32), nullable=False)
_PROMPT = pa.field("prompt", pa.string(), nullable=False)
_DESCRIPTION_SCHEMA = pa.schema(
    [
        pa.field("field", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class FeatureStatistics:
    """How much one encoder's store holds.

    Attributes:
        n_images: Distinct images, whatever the number of their views.
        n_prompts: Distinct prompts.
        n_files: Complete files, the description included.
        size_bytes: Their size on disk.
        dim: The width of a feature, 0 while there is none.
    """

    n_images: int
    n_prompts: int
    n_files: int
    size_bytes: int
    dim: int


@dataclass(frozen=True)
class FeatureStore:
    """The features of one encoder, under `<root>/features/<encoder>`.

    Every reading method verifies the files it reads and raises CorruptFileError, NewerFormatError
    or WrongKindError, each naming the file. All features of a store have one width and one
    precision, float32 or float16.

    Attributes:
        root: The folder of everything at rest.
        encoder: The encoder's fingerprint, 8 to 64 lower-case hexadecimal digits.
    """

    root: Path
    encoder: str

    def __post_init__(self) -> None:
        check_encoder(self.encoder)

    @property
    def folder(self) -> Path:
        """Where the store lies; it may not exist yet."""
        return self.root / "features" / self.encoder

    def append_images(
        self, image_sha256: Sequence[bytes], features: Features, *, view: int = 0
    ) -> Path:
        """Store the features of n images as one file.

        Args:
            image_sha256: The raw SHA-256 digests, 32 bytes each, of the image files.
            features: `[n, d]`, float32 or float16, before normalisation.
            view: 0 is the evaluation view, v >= 1 the v-th training augmentation.

        Raises:
            InvalidKeyError: A digest of another length, or a view out of range.
            InvalidFeaturesError: Wrong shape, element type, width for this store, or not finite.
            EmptyTableError: n is 0.
        """
        return self._append(self._images(view), image_keys(image_sha256), features)

    def missing_images(self, image_sha256: Sequence[bytes], *, view: int = 0) -> list[bytes]:
        """Those of the images that have no feature yet, in order, each once."""
        held = self._images(view).holds(image_keys(image_sha256))
        return _first_of_each(image_sha256, ~held)

    def read_images(self, image_sha256: Sequence[bytes], *, view: int = 0) -> Features:
        """The features `[n, d]` of n images in the order asked for; images may repeat.

        Raises:
            MissingFeaturesError: Some are not stored; says how many.
        """
        return self._read(self._images(view), image_keys(image_sha256))

    def append_prompts(self, prompts: Sequence[str], features: Features) -> Path:
        """Store the features `[n, d]` of n prompts as one file; raises as `append_images`."""
        return self._append(self._prompts(), prompt_keys(prompts), features)

    def missing_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Those of the prompts that have no feature yet, in order, each once."""
        held = self._prompts().holds(prompt_keys(prompts))
        return _first_of_each(prompts, ~held)

    def read_prompts(self, prompts: Sequence[str]) -> Features:
        """The features `[n, d]` of n prompts in the order asked for; raises as `read_images`."""
        return self._read(self._prompts(), prompt_keys(prompts))

    def describe(self, fields: Mapping[str, str]) -> Path:
        """Record what the encoder is, e.g. its model, weights digest and preprocessing."""
        names = sorted(fields)
        columns = [pa.array(names, pa.string()), pa.array([fields[name] for name in names])]
        table = pa.Table.from_arrays(columns, schema=_DESCRIPTION_SCHEMA)
        return write_table(self.folder / "encoder", table, kind="encoder")

    def description(self) -> dict[str, str]:
        """What `describe` recorded, empty when nothing was; of two values the first by file."""
        table = read_tables(self.folder / "encoder", kind="encoder", schema=_DESCRIPTION_SCHEMA)
        known: dict[str, str] = {}
        for row in table.to_pylist():
            known.setdefault(row["field"], row["value"])
        return dict(sorted(known.items()))

    def statistics(self) -> FeatureStatistics:
        """Count what the store holds; reads the keys of every file."""
        images, prompts = self._images(0), self._prompts()
        folders = (images.folder, prompts.folder, self.folder / "encoder")
        sizes = [path.stat().st_size for folder in folders for path in list_files(folder)]
        kind = self._feature_type()
        return FeatureStatistics(
            n_images=images.count(),
            n_prompts=prompts.count(),
            n_files=len(sizes),
            size_bytes=sum(sizes),
            dim=0 if kind is None else kind.list_size,
        )

    def _images(self, view: int) -> Shelf:
        folder = self.folder / "image"
        return Shelf(folder, kind="image-features", key=_IMAGE, view=check_view(view))

    def _prompts(self) -> Shelf:
        return Shelf(self.folder / "text", kind="text-features", key=_PROMPT)

    def _feature_type(self) -> pa.DataType | None:
        kind = self._images(0).feature_type()
        return self._prompts().feature_type() if kind is None else kind

    def _append(self, shelf: Shelf, keys: pa.Array, features: Features) -> Path:
        check_features(features, rows=len(keys))
        self._check_fits(feature_type(features))
        return shelf.append(keys, features)

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

    def _read(self, shelf: Shelf, keys: pa.Array) -> Features:
        features, found = shelf.gather(keys)
        if not found.all():
            missing = keys.filter(pa.array(~found))
            n_missing, n_wanted = (int(pc.count_distinct(each).as_py()) for each in (missing, keys))
            raise MissingFeaturesError(n_missing, n_wanted, self.encoder)
        return features


def stores(root: Path) -> list[FeatureStore]:
    """The store of every encoder found under `root`, sorted by fingerprint."""
    folder = root / "features"
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return [FeatureStore(root, name) for name in names if _is_fingerprint(name)]


def _first_of_each(keys: Sequence[_Key], chosen: npt.NDArray[np.bool_]) -> list[_Key]:
    return list(dict.fromkeys(compress(keys, chosen)))


def _is_fingerprint(name: str) -> bool:
    try:
        check_encoder(name)
    except UnsafeNameError:
        return False
    return True
