"""The datasets of a store: which there are, where their images lie, and what they look like."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from clip_adapter.datasets import (
    DATASETS,
    GENERATED,
    SPLITS,
    DatasetIndex,
    ExcludedFile,
    ImageSource,
    QuarantinedFile,
    describe,
    description_of,
    find_described,
    known_names,
    split_file_from,
)
from clip_adapter.errors import DatasetError, UnreadableImageError, nearest
from clip_adapter.images import (
    DEFAULT_OPTIONS,
    ImageFolder,
    ImageReader,
    ObjectFolder,
    ReadOptions,
    decode_image,
    image_folder,
    open_images,
)
from clip_adapter.pipeline import identity
from clip_adapter.pipeline.index import index_of_table
from clip_adapter.runs import current_index
from feature_cache import IndexStore, Location, NotStoredError, list_file_entries, storage
from feature_cache.exchange import imported_names
from feature_cache.parquet_file import read_table

if TYPE_CHECKING:  # the report draws figures, whose libraries take a second to import
    from clip_adapter.report.contact_sheet import ContactSheet, Thumbnail

MOST_THUMBNAILS = 300
"""Largest number of images on a contact sheet."""

State = Literal["present", "missing", "remote", "unknown", "imported"]


@dataclass(frozen=True, kw_only=True)
class StoredDataset:
    """A dataset of a store, in the state that was requested last.

    Attributes:
        index: its images, and the files that were not used.
        index_fingerprint: fingerprint of that index as it is stored.
        what: description in a few words.
        source: folder or URL of its images when it was indexed; None where it was not recorded.
        state: "present" if that folder exists on this machine, "missing" if it does not, "remote" if it
            is in an object store, which is not asked, "unknown" if it was not recorded, "imported" if the features were made elsewhere.
        next_step: what to do so that the images are found again; empty if they are.
    """

    index: DatasetIndex
    index_fingerprint: str
    what: str
    source: str | None
    state: State
    next_step: str

    @property
    def name(self) -> str:
        """Name of the dataset in the store."""
        return self.index.source.name

    @property
    def excluded(self) -> dict[str, int]:
        """Number of files that are left out, by reason."""
        return dict(Counter(file.reason for file in self.index.excluded).most_common())

    @property
    def n_classes(self) -> int:
        """Number of classes with an image."""
        return len(set(self.index.labels.tolist()))

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images of each split, by class."""
        index = self.index
        found = Counter(zip(index.labels.tolist(), index.splits, strict=True))
        names = index.source.class_names
        return {
            name: {split: found[label, split] for split in SPLITS}
            for label, name in enumerate(names)
        }


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """A dataset that can be trained on by its name, whether or not a store has it.

    Attributes:
        name: name as `train` takes it.
        what: description in a few words.
        is_present: whether its images are on this machine, or need not be; None where that depends
            on the folder or file that is named.
        next_step: what to do to use it.
        state: what of it is on this machine and what is missing, in a few words; empty where that
            depends on the folder or file that is named.
    """

    name: str
    what: str
    is_present: bool | None
    next_step: str
    state: str = ""


def known_datasets(data: Path) -> list[KnownDataset]:
    """The datasets that are known without a store.

    Args:
        data: folder of dataset folders.
    """
    steps = {
        **{name: f"clip-adapter train {name}" for name in DATASETS if ":" in name},
        "features:NAME": "clip-adapter cache import PATH --name NAME",
    }
    return [
        KnownDataset(name=name, what=what, is_present=None, next_step=steps[name])
        if name in steps
        else _known(name, what, data=data)
        for name, what in DATASETS.items()
    ]


def _known(name: str, what: str, *, data: Path) -> KnownDataset:
    """A dataset with a name of its own: what of it is in the folder of datasets."""
    train = f"clip-adapter train {name}"
    if name in GENERATED:
        return KnownDataset(name=name, what=what, is_present=True, next_step=train, state="ready")
    described = describe(name)
    folder = described.folder_in(data)
    try:
        found = find_described(described, folder)
    except DatasetError as error:
        return KnownDataset(
            name=name, what=what, is_present=False, next_step=str(error), state="incomplete"
        )
    if described.test_only:
        train = f"clip-adapter extract {name}"
    step = train
    if found.images is None:
        step = f"clip-adapter datasets fetch {name}"
        state = "split file alone" if found.lists and found.has_published_splits else "missing"
    elif not found.has_published_splits:
        state = "images, no split file"
        if described.needs_split_file:
            step = f"clip-adapter datasets fetch {name}"
        elif described.split_file:
            step = f"{train}; for published splits first put {split_file_from(described)} into {folder}"
    else:
        state = "present"
    return KnownDataset(
        name=name, what=what, is_present=found.is_present, next_step=step, state=state
    )


def stored_datasets(root: Location, *, data: Path) -> list[StoredDataset]:
    """Every dataset of a store, sorted by name; none if there is no store.

    Args:
        root: folder or URL of the store.
        data: folder of dataset folders, where a missing one would be put.

    Raises:
        CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: an index is damaged
            or cannot be understood.
    """
    names = stored_names(root)
    imported = imported_names(root) if names else []
    return [_read(root, name, data=data, is_imported=name in imported) for name in names]


def read_dataset(root: Location, dataset: str, *, data: Path) -> StoredDataset:
    """Read one dataset of a store; raises as `stored_datasets` and `stored_name`."""
    name = stored_name(root, dataset)
    return _read(root, name, data=data, is_imported=name in imported_names(root))


def stored_name(root: Location, dataset: str) -> str:
    """The name in the store of a dataset that is named as in the store or as `train` takes it.

    Raises:
        NotStoredError: there is no such dataset in the store.
        DatasetError: the folder of `imagefolder:PATH` does not exist, or is that of several datasets.
    """
    names = stored_names(root)
    name = identity.stored_name(dataset, root=root)
    if name in names:
        return name
    close = nearest(dataset, names)
    known = f"it has {', '.join(names[:12])}." if names else "it has none yet."
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else known
    raise NotStoredError(
        f"dataset {dataset!r} is not indexed in this store: {hint} `clip-adapter extract` indexes a "
        "dataset"
    )


def stored_names(root: Location) -> list[str]:
    """The names of the datasets that are indexed in a store, sorted."""
    return [
        name
        for name in storage.list_folders(root / "datasets")
        if list_file_entries(root / "datasets" / name / "images")
    ]


def _read(root: Location, name: str, *, data: Path, is_imported: bool) -> StoredDataset:
    store = IndexStore(root, name)
    fingerprint = stored_state(root, name)
    source = source_of(store, fingerprint)
    spelled = None if is_imported else identity.last_spelling(root, name)
    state, step = _state(name, source, data=data, is_imported=is_imported, spelled=spelled)
    own = description_of(name) if spelled is None else f"your own images: {spelled}"
    return StoredDataset(
        index=_index(store, fingerprint, folder=image_folder(source or "")),
        index_fingerprint=fingerprint,
        what=f"imported: features:{name}" if is_imported else own,
        source=source,
        state=state,
        next_step=step,
    )


def source_of(store: IndexStore, fingerprint: str) -> str | None:
    """The folder of the images of an index, one that exists if there is one; None if none is recorded."""
    sources = store.sources(fingerprint)
    return next((each for each in sources if Path(each).is_dir()), next(iter(sources), None))


def _state(
    name: str, source: str | None, *, data: Path, is_imported: bool, spelled: str | None
) -> tuple[State, str]:
    """Whether the images of a dataset are where they were, and what to do if they are not."""
    if is_imported:
        return "imported", ""
    if source is not None and isinstance(image_folder(source), ObjectFolder):
        return "remote", ""
    if source is not None and Path(source).is_dir():
        return "present", ""
    if name in GENERATED:
        return "missing", f"`clip-adapter extract {name}` makes them again"
    if name in known_names():
        folder = describe(name).folder_in(data)
        return "missing", f"`clip-adapter datasets fetch {name}` gets it again, into {folder}"
    written = "imagefolder:PATH" if spelled is None else f"{spelled.partition(':')[0]}:PATH"
    again = f"`clip-adapter train {written} --name {name}` with the place they are in now"
    return "unknown" if source is None else "missing", again


def stored_state(root: Location, name: str) -> str:
    """The fingerprint of the state of a dataset that was requested last, else stored last.

    Args:
        root: folder or URL of the store.
        name: name of a dataset in the store.
    """
    fingerprint = current_index(root, name)
    if fingerprint is not None and fingerprint in IndexStore(root, name).fingerprints():
        return fingerprint
    folder = root / "datasets" / name / "images"
    newest = max(list_file_entries(folder), key=lambda entry: entry.modified)
    table = read_table(
        folder / newest.name, kind="dataset-index", owner=name, columns=["index_fingerprint"]
    )
    found: str = table.column(0)[0].as_py()
    return found


def _index(store: IndexStore, fingerprint: str, *, folder: ImageFolder) -> DatasetIndex:
    """A stored index with the files that were not used."""
    table = store.read(fingerprint)
    bad, excluded = (
        read(fingerprint).to_pylist() for read in (store.read_quarantine, store.read_excluded)
    )
    source = ImageSource(
        store.dataset,
        folder,
        _class_names(table),
        (),
        files=(),
        fingerprint_name=store.first_name(),
    )
    return replace(
        index_of_table(table, source),
        quarantined=tuple(
            QuarantinedFile(row["path"], row["reason"], row["n_bytes"]) for row in bad
        ),
        excluded=tuple(ExcludedFile(row["path"], row["reason"]) for row in excluded),
    )


def _class_names(table: pa.Table) -> tuple[str, ...]:
    """Class names by label; a class without a readable image is not in the table."""
    labels, names = (table.column(name).to_pylist() for name in ("label", "class_name"))
    known = dict(zip(labels, names, strict=True))
    return tuple(known.get(label, f"class {label}") for label in range(max(known) + 1))


def contact_sheet(
    dataset: StoredDataset, *, per_class: int = 6, read: ReadOptions = DEFAULT_OPTIONS
) -> "ContactSheet":
    """A few images of every class, read from the folder of the dataset.

    At most `MOST_THUMBNAILS` images are read: fewer a class where there are many classes, and the
    first classes alone where there are more than that. An image that is gone, changed or
    unreadable is a gap.

    Args:
        dataset: dataset to show.
        per_class: number of images of each class, taken at equal distances from its list.
        read: how the image files may be read.
    """
    from clip_adapter.report.contact_sheet import ContactSheet, Row  # noqa: PLC0415  # as above

    index = dataset.index
    names = index.source.class_names
    each = max(1, min(per_class, MOST_THUMBNAILS // len(names)))
    counts = dataset.counts()
    with open_images(index.source.folder, read) as reader:
        rows = [
            Row(
                class_name=name,
                counts=counts[name],
                thumbnails=tuple(
                    thumbnail(
                        reader,
                        index.paths[row],
                        index.splits[row],
                        image_sha256=index.image_sha256[row],
                        read=read,
                    )
                    for row in _spread(np.flatnonzero(index.labels == label).tolist(), each)
                ),
            )
            for label, name in enumerate(names[:MOST_THUMBNAILS])
        ]
    return ContactSheet(
        title=dataset.name,
        source=dataset.source or "",
        rows=tuple(rows),
        n_more_classes=len(names) - len(rows),
    )


def _spread(rows: Sequence[int], n: int) -> list[int]:
    """At most `n` of the rows, at equal distances."""
    chosen = np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int)
    return [rows[place] for place in chosen]


def thumbnail(
    reader: ImageReader, path: str, split: str, *, image_sha256: bytes, read: ReadOptions
) -> "Thumbnail":
    """A small version of an image; a gap if it is gone, changed or unreadable.

    Args:
        reader: reads the folder of the dataset.
        path: path of the image in that folder.
        split: split of the image.
        image_sha256: digest of the file when it was indexed.
        read: how the file may be read.
    """
    from clip_adapter.report.contact_sheet import CELL_PIXELS, Thumbnail  # noqa: PLC0415  # as above

    try:
        content = reader.read(path)
        if hashlib.sha256(content).digest() != image_sha256:
            return Thumbnail(path=path, split=split, gap="changed since it was indexed")
        image = decode_image(content, max_pixels=read.max_pixels)
    except UnreadableImageError as error:
        return Thumbnail(path=path, split=split, gap=str(error))
    image.thumbnail((CELL_PIXELS, CELL_PIXELS), Image.Resampling.LANCZOS)
    return Thumbnail(path=path, split=split, image=image)
