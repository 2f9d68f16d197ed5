"""Indexes a dataset: reads, digests and checks every image file, and stores the result as tables."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.datasets import (
    GENERATED,
    IMPORTED,
    SPLITS,
    DatasetError,
    DatasetIndex,
    FolderOptions,
    ImageSource,
    KnownSizes,
    KnownSplits,
    build_index,
    check_templates,
    is_own_data,
    keep_names,
    naming_notes,
    open_dataset,
    short_classes,
    with_classes_ordered,
    without_classes,
)
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import DEFAULT_OPTIONS, ImageFolder, ObjectFolder, ReadOptions
from clip_adapter.pipeline.identity import (
    candidate_names,
    choose_name,
    keep_name_by_path,
    sources_of,
)
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import RequestStore
from feature_cache import (
    EXCLUDED_SCHEMA,
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    FeatureCacheError,
    IndexStore,
    Location,
    raise_on_corruption,
)
from feature_cache.exchange import find_imported

_DamagedFile = tuple[Location, FeatureCacheError]


@dataclass(frozen=True, kw_only=True)
class IndexedDataset:
    """A dataset whose index is stored.

    Attributes:
        root: folder or URL of the store.
        name: name of the dataset in the store.
        folder: folder of the images on this machine, or their place in an object store.
        index_fingerprint: fingerprint of the index, which identifies the state of the dataset.
        class_names: class names as they appear in a prompt.
        templates: prompts with one `{}`.
        n_images: number of readable images.
        n_quarantined: number of files that could not be read as an image.
        n_leaked: number of distinct images that occur in both train and test.
        is_imported: whether the dataset consists of imported features; `folder` is unused then.
        excluded: number of other files that are not used, by reason.
        read: how the image files may be read.
        class_prompts: prompts of each class in place of the templates, as in `ImageSource`.
        short_classes: names of the classes that are left out, as they have too few images.
    """

    root: Location
    name: str
    folder: ImageFolder
    index_fingerprint: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    n_images: int
    n_quarantined: int
    n_leaked: int
    is_imported: bool = False
    excluded: Mapping[str, int] = field(default_factory=dict)
    read: ReadOptions = DEFAULT_OPTIONS
    class_prompts: tuple[tuple[str, ...], ...] = ()
    short_classes: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """The fields without the index, which another process reads from the store."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def index(self) -> DatasetIndex:
        """The rows of the index, read from the store unless they were given to `with_index`."""
        return read_index(self)

    def with_index(self, index: DatasetIndex) -> "IndexedDataset":
        """A copy that has the rows of its index, so that they are not read from the store."""
        copy = replace(self)
        vars(copy)["index"] = index  # the cached property
        return copy

    def prompted(self, templates: tuple[str, ...]) -> "IndexedDataset":
        """The dataset with these templates for all classes; itself when `templates` is empty."""
        if not templates:
            return self
        return replace(self, templates=templates, class_prompts=()).with_index(self.index)

    @property
    def prompts_by_class(self) -> list[list[str]]:
        """The prompts of each class: its own, else one a template."""
        own = self.class_prompts or ((),) * len(self.class_names)
        return [
            [prompt.replace("{}", name) for prompt in prompts or self.templates]
            for name, prompts in zip(self.class_names, own, strict=True)
        ]

    @property
    def prompts(self) -> list[str]:
        """All prompts, class by class, and template by template within a class."""
        return [prompt for prompts in self.prompts_by_class for prompt in prompts]


def index_dataset(
    dataset: str,
    *,
    root: Location,
    data: Path,
    images: Path | None = None,
    options: FolderOptions = FolderOptions(),  # noqa: B008  # is immutable
    max_bad_fraction: float = 0.05,
    templates: Sequence[str] | None = None,
    skip_short: Sequence[int] = (),
    validation: bool = True,
    reporter: Reporter,
) -> IndexedDataset:
    """Store the index of a dataset and return the indexed dataset.

    Every file is read and digested. A file whose digest is in an earlier index is not decoded again.

    Args:
        dataset: a name that `open_dataset` takes, or features:NAME, whose index is stored already.
        root: folder or URL of the store.
        data: folder of dataset folders.
        images: folder of this dataset, instead of one in `data`.
        options: what the user says about the folder.
        max_bad_fraction: fraction of unreadable files above which indexing fails.
        templates: prompts with one {} for the class name, instead of those of the dataset and of
            `dataset.yaml`; a class with prompts in `options.class_names` keeps these.
        skip_short: numbers of shots; a class with too few images for one of them is left out.
        validation: whether images to validate are counted among those that a class needs.
        reporter: where to report progress and unreadable files.

    Raises:
        DatasetError: the dataset is missing, too many files are unreadable, a template is invalid,
            fewer than two classes have enough images, or a folder has the name of another dataset.
            Nothing is written then.
        NotStoredError: no features were imported as NAME.
    """
    if dataset.startswith(IMPORTED):
        if templates:
            raise DatasetError(f"{dataset!r} has the texts it was imported with, and no templates")
        name = dataset.removeprefix(IMPORTED)
        return _imported(name, root=root, skip_short=skip_short, validation=validation)
    if templates:
        check_templates(templates)
    # Pillow logs some malformed files in addition to raising an exception.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # Generated images belong below the root, not among a user's datasets.
    place = root / "images" if isinstance(root, Path) and dataset in GENERATED else data
    options = keep_name_by_path(dataset, options, root=root, images=images)
    source = open_dataset(dataset, data=place, images=images, options=options)
    candidates = candidate_names(dataset, source.name, options=options, root=root, images=images)
    known, damaged = _look_up(candidates, root=root)
    index = _build(
        source,
        max_bad_fraction=max_bad_fraction,
        known=dict(chain.from_iterable(sizes.items() for sizes in known.values())),
        known_splits=_look_up_splits(source, candidates, root=root),
        reporter=reporter,
    )
    is_own = is_own_data(dataset)
    if is_own:
        index = _named(index, known, is_given=options.name is not None, root=root)
    # Setting a damaged index aside loses nothing: this one replaces it.
    store = IndexStore(root, index.source.name, on_corruption=reporter.quarantine_file)
    _set_aside(damaged, store)
    if is_own and known.get(store.dataset) and store.dataset != options.name:
        _report_move(
            index, known[store.dataset], source_name=source.name, store=store, reporter=reporter
        )
    index = _keep_names(index, store)
    # A dataset that was renamed keeps its fingerprints, and with them its runs.
    index = replace(index, source=replace(index.source, fingerprint_name=store.first_name()))
    every_class = index.source.class_names
    if skip_short:
        labels = short_classes(index, skip_short, validation=validation)
        index = _without_short_classes(index, labels, reporter=reporter)
    source = index.source
    _report_other_splits(index, store, reporter=reporter)
    write_index(store, index)
    for note in source.notes:  # those of the folder, then those of its files
        reporter.log(escape_control_characters(note))
    for file in index.quarantined[:5]:
        # A file name may contain line breaks, which `log` does not escape.
        reporter.log(f"quarantined {escape_control_characters(file.path)}: {file.reason}")
    return IndexedDataset(
        root=root,
        name=source.name,
        folder=source.folder,
        index_fingerprint=index.fingerprint,
        class_names=source.class_names,
        templates=tuple(templates or source.templates),
        n_images=len(index),
        n_quarantined=len(index.quarantined),
        n_leaked=len(index.leaks()),
        excluded=dict(Counter(file.reason for file in index.excluded).most_common()),
        read=source.read,
        # Templates of the request come before all that `dataset.yaml` says.
        class_prompts=source.class_prompts if options.class_names or not templates else (),
        short_classes=tuple(name for name in every_class if name not in source.class_names),
    ).with_index(index)


def _look_up(
    names: Sequence[str], *, root: Location
) -> tuple[dict[str, KnownSizes], list[_DamagedFile]]:
    """What is known of the images of each dataset, and the files that could not be read.

    These keep their names: whether they are replaced is known when the dataset is.
    """
    damaged: list[_DamagedFile] = []

    def note(path: Location, error: FeatureCacheError) -> None:
        damaged.append((path, error))

    known = {name: known_sizes(IndexStore(root, name, on_corruption=note)) for name in names}
    return known, damaged


def _look_up_splits(source: ImageSource, names: Sequence[str], *, root: Location) -> KnownSplits:
    """The splits of images in the stored datasets, if some file of the source has none of its own."""
    if all(file.split is not None for file in source.files):
        return {}
    # A damaged file was noticed when the sizes were read.
    stores = [IndexStore(root, name, on_corruption=lambda *_: None) for name in names]
    return dict(chain.from_iterable(known_splits(store).items() for store in reversed(stores)))


def _named(
    index: DatasetIndex, known: Mapping[str, KnownSizes], *, is_given: bool, root: Location
) -> DatasetIndex:
    """The index with the name of the stored dataset that the folder is."""
    stored = {name: sizes.keys() for name, sizes in known.items()}
    digests = frozenset(index.image_sha256)
    name = choose_name(index.source, digests, stored, is_given=is_given, root=root)
    return replace(index, source=replace(index.source, name=name))


def _set_aside(damaged: list[_DamagedFile], store: IndexStore) -> None:
    """Set aside the damaged files of the dataset that is indexed; raise the error of any other."""
    for path, error in damaged:
        is_replaced = path.parent.parent == store.folder
        (store.on_corruption if is_replaced else raise_on_corruption)(path, error)


def _report_move(
    index: DatasetIndex,
    known: KnownSizes,
    *,
    source_name: str,
    store: IndexStore,
    reporter: Reporter,
) -> None:
    """Report which stored dataset was recognised in a folder that it was not read from before.

    Also, with what renames it, if `dataset.yaml` or the folder has another name than the store.
    """
    folder, slug = _place(index.source), source_name
    is_renamed = slug in {store.dataset, store.first_name()}
    if folder in sources_of(store) and is_renamed:
        return
    digests = set(index.image_sha256)
    rename = f"; `clip-adapter datasets rename {store.dataset} {slug}` calls it {slug}"
    reporter.log(
        f"{escape_control_characters(folder)} is dataset {store.dataset}, "
        f"{len(digests & known.keys())} of {len(digests)} images known{'' if is_renamed else rename}"
    )


def _report_other_splits(index: DatasetIndex, store: IndexStore, *, reporter: Reporter) -> None:
    """Report how many images are in another split than in the last state of the dataset."""
    if index.fingerprint in store.fingerprints():
        return
    known = known_splits(store)
    pairs = set(zip(index.image_sha256, index.splits, strict=True))
    n_moved = sum(known.get(digest, split) != split for digest, split in pairs)
    if n_moved:
        reporter.log(
            f"{n_moved:,} images of {store.dataset} are in another split than before, as its folders or "
            "table say: accuracies before and after are of different test images"
        )


def _place(source: ImageSource) -> str:
    """The absolute folder of a dataset, whose links are kept and which has no `..`, or its URL."""
    if isinstance(source.folder, ObjectFolder):
        return str(source.folder)
    return os.path.abspath(source.folder)  # noqa: PTH100  # Path.resolve follows links


def _keep_names(index: DatasetIndex, store: IndexStore) -> DatasetIndex:
    """The index with the names that earlier versions gave its classes, in the order they had then.

    These versions kept the Unicode form of a folder's name, in which they also sorted.
    """
    source = index.source
    if not naming_notes(source) and "".join(source.class_names).isascii():
        return index
    states = [store.read(each) for each in sorted(store.fingerprints())]
    # One path a class is enough: all its images lie in the same class folder.
    path_of = {
        name: path
        for state in states
        for name, path in zip(
            *state.select(["class_name", "path"]).to_pydict().values(), strict=True
        )
    }
    source = keep_names(source, [(path, name) for name, path in path_of.items()])
    if source is index.source:
        return index
    index = replace(index, source=source)
    for state in states:
        labels = zip(*state.select(["label", "class_name"]).to_pydict().values(), strict=True)
        index = with_classes_ordered(index, [name for _, name in sorted(set(labels))])
    return index


def _build(
    source: ImageSource,
    *,
    max_bad_fraction: float,
    known: KnownSizes,
    known_splits: KnownSplits,
    reporter: Reporter,
) -> DatasetIndex:
    done = 0
    with reporter.progress(
        f"indexing {source.name}", total=len(source.files), unit="files"
    ) as advance:

        def show(total: int) -> None:
            nonlocal done
            advance(total - done)
            done = total

        # Two threads decode faster than one, but read small files in memory half as fast.
        return build_index(
            source,
            max_bad_fraction=max_bad_fraction,
            progress=show,
            known=known,
            known_splits=known_splits,
            workers=1 if known else 2,
        )


def _without_short_classes(
    index: DatasetIndex, labels: Sequence[int], *, reporter: Reporter
) -> DatasetIndex:
    kept = without_classes(index, labels, reason="short class")
    names = index.source.class_names
    for label in labels[:5]:
        reporter.log(f"class {names[label]!r} is left out, as it has too few images")
    if len(labels) > 5:
        reporter.log(f"{len(labels) - 5} more classes are left out for that reason")
    return kept


def _imported(
    name: str, *, root: Location, skip_short: Sequence[int], validation: bool
) -> IndexedDataset:
    """The dataset whose index the import wrote."""
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
    index = dataset.index
    short = short_classes(index, skip_short, validation=validation) if skip_short else ()
    if short:
        raise DatasetError(
            f"class {found.class_names[short[0]]!r} of features:{name} has too few images, and imported "
            "features have the classes they were imported with: import them without it, or train on "
            "what it has (--short-classes take-all)"
        )
    return replace(dataset, n_images=len(index), n_leaked=len(index.leaks())).with_index(index)


def write_index(store: IndexStore, index: DatasetIndex) -> None:
    """Store an index with the files that are not used."""
    n_images, n_bad, n_excluded = len(index), len(index.quarantined), len(index.excluded)
    names = index.source.class_names
    images = pa.table(
        {
            "index_fingerprint": [index.fingerprint] * n_images,
            "dataset": [index.source.name] * n_images,
            "row": np.arange(n_images, dtype=np.int32),
            "image_sha256": pa.array(index.image_sha256, pa.binary(32)),
            "path": index.paths,
            "label": index.labels.astype(np.int32),
            "class_name": [names[label] for label in index.labels],
            "split": index.splits,
            "group": pa.array(index.groups, pa.string()),
            "width": index.widths,
            "height": index.heights,
            "n_bytes": index.n_bytes,
        },
        schema=INDEX_SCHEMA,
    )
    quarantine = pa.table(
        {
            "index_fingerprint": [index.fingerprint] * n_bad,
            "dataset": [index.source.name] * n_bad,
            "path": [file.path for file in index.quarantined],
            "reason": [file.reason for file in index.quarantined],
            "n_bytes": [file.n_bytes for file in index.quarantined],
        },
        schema=QUARANTINE_SCHEMA,
    )
    excluded = pa.table(
        {
            "index_fingerprint": [index.fingerprint] * n_excluded,
            "dataset": [index.source.name] * n_excluded,
            "path": [file.path for file in index.excluded],
            "reason": [file.reason for file in index.excluded],
        },
        schema=EXCLUDED_SCHEMA,
    )
    store.write(
        images,
        quarantine,
        excluded=excluded,
        name=index.source.fingerprint_name,
        source=_place(index.source),
    )


def known_sizes(store: IndexStore) -> KnownSizes:
    """Width and height of every image of the dataset's earlier indexes, by digest."""
    # Features imported under this name have no pixels and therefore no size.
    sizes = store.sizes().filter(pc.field("width") > 0)
    digests, widths, heights = (column.to_pylist() for column in sizes.columns)
    return dict(zip(digests, zip(widths, heights, strict=True), strict=True))


def known_splits(store: IndexStore) -> KnownSplits:
    """The split of every image of the dataset's earlier indexes, by digest.

    Where they differ, that of the index that was requested last is returned. An index in which copies
    of an image lie in several splits says nothing about the image.
    """
    requests = RequestStore(store.root).history(store.dataset)
    requested = dict.fromkeys(each.index_fingerprint for each in reversed(requests))
    rows = store.splits()
    age = pc.index_in(rows["index_fingerprint"], pa.array(requested, pa.string()))
    number = pc.index_in(
        rows["split"], pa.array(SPLITS)
    )  # `min` and `max` of text are new in Arrow
    by_index = (
        rows.append_column("age", pc.fill_null(age, len(requested)))
        .append_column("number", number)
        .group_by(["age", "index_fingerprint", "image_sha256"])
        .aggregate([("number", "min"), ("number", "max")])
        .filter(pc.field("number_min") == pc.field("number_max"))
        .sort_by([("age", "ascending"), ("index_fingerprint", "ascending")])
    )
    last = by_index.group_by("image_sha256", use_threads=False).aggregate([("number_min", "first")])
    digests, numbers = (last[name].to_pylist() for name in ("image_sha256", "number_min_first"))
    return {digest: SPLITS[number] for digest, number in zip(digests, numbers, strict=True)}


def read_index(dataset: IndexedDataset) -> DatasetIndex:
    """Read and verify the index of a dataset, without its quarantine."""
    store = IndexStore(dataset.root, dataset.name)
    source = ImageSource(
        dataset.name,
        dataset.folder,
        dataset.class_names,
        dataset.templates,
        files=(),
        fingerprint_name=store.first_name(),
    )
    return index_of_table(store.read(dataset.index_fingerprint), source)


def index_of_table(table: pa.Table, source: ImageSource) -> DatasetIndex:
    """The index in the rows of a table with the columns of `INDEX_SCHEMA`, sorted by row.

    Args:
        table: the images; what is quarantined and excluded is in other tables.
        source: the dataset, whose files are not needed.
    """
    columns = {name: table.column(name) for name in table.column_names}
    return DatasetIndex(
        source=source,
        paths=tuple(columns["path"].to_pylist()),
        image_sha256=tuple(columns["image_sha256"].to_pylist()),
        labels=columns["label"].to_numpy().astype(np.int64),
        splits=tuple(columns["split"].to_pylist()),
        groups=tuple(columns["group"].to_pylist()),
        widths=columns["width"].to_numpy(),
        heights=columns["height"].to_numpy(),
        n_bytes=columns["n_bytes"].to_numpy(),
        quarantined=(),
    )
