"""Renames or forgets a stored dataset, by writing files anew without changing one.

The files that hold the rows as they will be are written before the files that held them are removed,
and the images of the dataset's indexes, by which its name is found, are removed last. So a command
that was killed is finished by running it again.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.datasets import DATASETS, FolderOptions, check_free_name, describe, known_names
from clip_adapter.errors import DatasetError
from clip_adapter.pipeline.datasets import read_dataset, stored_name
from clip_adapter.runs import RUN_TABLES, PromotionStore, last_champion
from clip_adapter.runs.schemas import PREDICTIONS, RUNS, SPLITS
from feature_cache import (
    IndexStore,
    Location,
    StoredFolder,
    classifier_folder,
    drop_unreferenced,
    is_content,
    list_file_entries,
    read_content,
    read_tables,
    storage,
    stored_folders,
    write_content,
    write_table,
)
from feature_cache.parquet_file import VerifiedFile, open_verified
from feature_cache.schemas import pick

INDEX = "dataset-index"
_NAMED_TABLES = ("splits", "runs", "extractions", "promotions", "requests")
"""Tables of runs with a column `dataset`, a table before those that refer to it."""
_CLASSIFIERS = "classifiers"
_MANY = 99  # more than a folder is ever read again in a row


@dataclass(frozen=True, kw_only=True)
class ChangedRows:
    """Rows of one kind that are written anew or removed.

    Attributes:
        kind: kind of the rows, as "runs" or "image-features"; "classifiers" are files.
        n_files: number of files that hold them.
        n_rows: number of rows.
        size_bytes: bytes that they take, estimated in files that also hold other rows.
    """

    kind: str
    n_files: int
    n_rows: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ForgottenDataset:
    """The result of forgetting a dataset.

    Attributes:
        name: name of the dataset in the store.
        removed: rows that were removed, or would be.
        n_decisions_kept: number of decisions on its champion that stay; 0 where it has none.
        n_runs_kept: number of runs that these decisions cite, which stay with all their rows.
        n_images_kept: number of images that these runs name, whose features stay.
    """

    name: str
    removed: tuple[ChangedRows, ...]
    n_decisions_kept: int
    n_runs_kept: int
    n_images_kept: int


def rename_dataset(
    root: Location, old: str, new: str, *, dry_run: bool = False
) -> tuple[ChangedRows, ...]:
    """Give a stored dataset another name; its fingerprints stay, so that nothing is trained again.

    Files that hold rows of other datasets as well are written anew with these as they are.

    Args:
        root: folder or URL of the store.
        old: name of the dataset, as `stored_name` takes it.
        new: name that no dataset of the store has: a-z, 0-9 and single dashes.
        dry_run: only report what would be written anew.

    Raises:
        DatasetError: the new name is no slug, reserved or taken, or the dataset is one of
            `DATASETS`, which has a fixed name.
        NotStoredError: there is no dataset of the old name.
        CorruptFileError, NewerFormatError, MisplacedFileError: a file of the dataset is damaged;
            nothing is removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    old = stored_name(root, old)
    _check_names(root, old, new)
    changed: list[ChangedRows] = []
    for _ in range(_MANY):  # again if another process has merged files meanwhile
        replaced = list(_write_renamed(root, old, new, dry_run=dry_run))
        changed += [rows for _, rows in replaced]
        if dry_run or not replaced:
            break
        for path, _ in _images_last(reversed(replaced)):
            _remove(path)
    if not dry_run:
        _remove_empty_folders(root, old)
    return _summed(changed)


def forget_dataset(root: Location, name: str, *, dry_run: bool) -> ForgottenDataset:
    """Remove what is stored of a dataset, but not what others share or its champion rests on.

    Its requests, extractions, runs with all their rows (tests of other datasets' classifiers on it
    included), indexes, and the features of images that no other dataset's index names are removed. If the dataset has a champion, every decision on it
    stays, with the runs that they cite, their rows, the features of their images, and the files
    of the classifiers. Prompts stay.

    Args:
        root: folder or URL of the store.
        name: name of the dataset, as `stored_name` takes it.
        dry_run: only report what would be removed.

    Raises:
        NotStoredError: there is no dataset of this name.
        CorruptFileError, NewerFormatError, MisplacedFileError: a file that may hold rows of the
            dataset is damaged; its rows and those of later steps are not removed.
        OSError: the disk or the object store failed; running it again goes on from there.
    """
    name = stored_name(root, name)
    evidence = _evidence_on(root, name)
    removed = [
        *_forget_runs(root, name, evidence, dry_run=dry_run),
        *_forget_classifiers(root, name, evidence, dry_run=dry_run),
        *_forget_features(root, name, evidence, dry_run=dry_run),
        *_forget_indexes(root, name, dry_run=dry_run),
    ]
    if not dry_run:
        _remove_empty_folders(root, name)
    return ForgottenDataset(
        name=name,
        removed=_summed(removed),
        n_decisions_kept=evidence.n_decisions,
        n_runs_kept=len(evidence.run_ids),
        n_images_kept=len(evidence.images),
    )


def evidence_images(root: Location) -> pa.Array:
    """Digests of the images that promoted runs of forgotten datasets name, which no index names.

    Raises:
        CorruptFileError, NewerFormatError, WrongSchemaError: a file of runs or an index is damaged.
    """
    cited: dict[str, set[str]] = {}
    for record in PromotionStore(root).records():
        cited.setdefault(record.dataset, set()).add(record.index_fingerprint)
    forgotten = [name for name, states in cited.items() if states - _fingerprints(root, name)]
    found = [_evidence_on(root, name).images for name in forgotten]
    return pa.concat_arrays([pa.array([], pa.binary(32)), *found])


# Renaming


def _check_names(root: Location, old: str, new: str) -> None:
    if old in DATASETS and not _is_own_folder(root, old):
        raise DatasetError(
            f"{old!r} is the name of a dataset that is known without a store, and stays: give a "
            f"copy of its folder another name, `clip-adapter train imagefolder:PATH --name {new}`"
        )
    check_free_name(new)
    FolderOptions(name=new)  # raises if the name is no slug
    if old == new:
        raise DatasetError(f"the dataset is called {old!r} already: give another name")
    before, after = _identifiers(root, old), _identifiers(root, new)
    states, taken_by = before.pop("states"), after.pop("states")
    began = all(after[name] <= ids or ids <= after[name] for name, ids in before.items())
    if not (taken_by <= states and began):
        raise DatasetError(
            f"the name {new!r} is taken: this store has an index, runs or decisions of another "
            f"dataset of that name. Choose another, or `clip-adapter datasets forget {new}` first"
        )


def _is_own_folder(root: Location, name: str) -> bool:
    """Whether a stored dataset is a folder of one's own that was called like a known one is now."""
    if name not in known_names():
        return False
    described, stored = describe(name), read_dataset(root, name, data=Path())
    if described.classes:
        return not set(stored.index.source.class_names) <= set(described.class_names)
    return stored.n_classes != described.n_classes


def _identifiers(root: Location, name: str) -> dict[str, set[str]]:
    """The states of a dataset, and what identifies each row of its tables.

    A rename that was interrupted leaves states of the old name alone, and of each table the rows
    of one name among those of the other.
    """
    found = {"states": _fingerprints(root, name)}
    for table in ("runs", "extractions", "promotions", "requests"):
        key = RUN_TABLES[table].names[0]
        rows = _rows(root, table, key, "dataset", "index_fingerprint")
        rows = rows.filter(pc.field("dataset") == name)
        found[table] = set(rows.column(key).to_pylist())
        found["states"] |= set(rows.column("index_fingerprint").drop_null().to_pylist())
    return found


def _write_renamed(
    root: Location, old: str, new: str, *, dry_run: bool
) -> Iterator[tuple[Location, ChangedRows]]:
    """Write every file that names the dataset with the new name; yield those they replace."""
    for path, size_bytes in _classifiers(root, old):
        if not dry_run:
            write_content(classifier_folder(root, new), read_content(path))
        yield path, ChangedRows(kind=_CLASSIFIERS, n_files=1, n_rows=1, size_bytes=size_bytes)
    for folder in _folders_to_rename(root, old):
        is_own = folder.owner == old and folder.kind.startswith("dataset-")
        target = folder.path
        if is_own:
            target = root / "datasets" / new / folder.path.name
        for file in _open_all(folder):
            table, n_rows = _renamed(file.read(), old, new)
            if not n_rows:
                continue
            if not dry_run:
                owner = new if is_own else folder.owner
                write_table(target, table, kind=folder.kind, owner=owner)
            yield file.path, _counted(folder.kind, file, n_rows, table.num_rows)


def _folders_to_rename(root: Location, name: str) -> Iterator[StoredFolder]:
    """Folders with rows that name the dataset, those of its index before those that refer to it."""
    folders = list(stored_folders(root))
    own = {each.kind: each for each in folders if each.path.parent == root / "datasets" / name}
    yield from (own[kind] for kind in ("dataset-quarantine", "dataset-excluded", INDEX))
    yield from (each for each in folders if each.kind == "encoder")
    yield from (StoredFolder(root / "runs" / table, table) for table in _NAMED_TABLES)


def _renamed(table: pa.Table, old: str, new: str) -> tuple[pa.Table, int]:
    """A table with the new name in each row that has the old one, and the number of such rows."""
    if "field" in table.column_names:  # of an encoder; imports record their dataset there
        named = pc.and_(_equal(table["field"], "dataset"), _equal(table["value"], old))
        return _put(table, "value", named, new), _n_true(named)
    named = _equal(table["dataset"], old)
    if "row" in table.column_names:  # of an index, which keeps its first name
        table = _with_first_name(table, named, old)
    table = _put(table, "dataset", named, new)
    if "tested_on" in table.column_names:
        tested = _equal(pc.struct_field(table["tested_on"], "dataset"), old)
        table = _put_struct(table, "tested_on", "dataset", tested, new)
        named = pc.or_(named, tested)
    return table, _n_true(named)


def _with_first_name(table: pa.Table, named: pa.Array, name: str) -> pa.Table:
    if "name" not in table.column_names:
        table = table.append_column("name", pa.nulls(table.num_rows, pa.string()))
    return _put(table, "name", pc.and_(named, pc.is_null(table["name"])), name)


def _put_struct(
    table: pa.Table, column: str, inner: str, mask: pa.ChunkedArray, value: str
) -> pa.Table:
    """Replace one field of a column of structs in the rows of a mask."""
    whole = table[column].combine_chunks()
    fields = [pc.struct_field(whole, field.name) for field in whole.type]
    place = whole.type.get_field_index(inner)
    fields[place] = pc.if_else(mask.combine_chunks(), value, fields[place])
    made = pa.StructArray.from_arrays(fields, fields=list(whole.type), mask=whole.is_null())
    position = table.column_names.index(column)
    return table.set_column(position, table.schema.field(column), made)


def _put(table: pa.Table, column: str, mask: pa.ChunkedArray, value: str) -> pa.Table:
    position = table.column_names.index(column)
    return table.set_column(
        position, table.schema.field(column), pc.if_else(mask, value, table[column])
    )


def _equal(column: pa.ChunkedArray, value: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(column, value), fill_value=False)


def _n_true(mask: pa.ChunkedArray) -> int:
    count: int = pc.sum(pc.cast(mask, pa.int64())).as_py() or 0
    return count


def _images_last(
    replaced: Iterator[tuple[Location, ChangedRows]],
) -> list[tuple[Location, ChangedRows]]:
    return sorted(replaced, key=lambda each: each[1].kind == INDEX)


# Forgetting


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What a champion rests on.

    Attributes:
        n_decisions: number of decisions on the dataset; 0 where none set a champion.
        run_ids: runs that they cite.
        splits: fingerprints of the few-shot splits of these runs.
        images: digests of the images of these splits and of the runs' predictions.
    """

    n_decisions: int
    run_ids: frozenset[str]
    splits: frozenset[str]
    images: pa.Array


def _evidence_on(root: Location, dataset: str) -> _Evidence:
    history = PromotionStore(root).history(dataset)
    if last_champion(history) is None:
        history = []
    run_ids = frozenset(record.run_id for record in history)
    runs = _rows(root, "runs", "run_id", "split_fingerprint", schema=RUNS)
    runs = runs.filter(_is_in(runs["run_id"], run_ids))
    splits = frozenset(runs.column("split_fingerprint").to_pylist())
    named = [
        *_image_digests(root, "splits", "split_fingerprint", splits, schema=SPLITS),
        *_image_digests(root, "predictions", "run_id", run_ids, schema=PREDICTIONS),
    ]
    images = pa.concat_arrays([pa.array([], pa.binary(32)), *named]).unique()
    return _Evidence(n_decisions=len(history), run_ids=run_ids, splits=splits, images=images)


def _image_digests(
    root: Location, table: str, key: str, values: frozenset[str], *, schema: pa.Schema
) -> list[pa.Array]:
    """Digests of the images in the rows with one of the values, a file at a time."""
    if not values:
        return []
    wanted = pick(schema, key, "image_sha256")
    rows = (file.read_as(wanted) for file in _open_all(StoredFolder(root / "runs" / table, table)))
    return [
        each.filter(_is_in(each[key], values))["image_sha256"].combine_chunks().unique()
        for each in rows
    ]


def _forget_runs(
    root: Location, name: str, evidence: _Evidence, *, dry_run: bool
) -> Iterator[ChangedRows]:
    """Remove the rows of all tables of runs, the row of a run itself after its other rows."""
    runs = _rows(root, "runs", "run_id", "dataset", "tested_on", schema=RUNS)
    tested = pc.field("tested_on", "dataset") == name
    own = set(runs.filter((pc.field("dataset") == name) | tested)["run_id"].to_pylist())
    gone = frozenset(own - evidence.run_ids)

    def of_dataset(table: pa.Table) -> pa.ChunkedArray:
        return _equal(table["dataset"], name)

    def of_run(table: pa.Table) -> pa.ChunkedArray:
        return _is_in(table["run_id"], gone)

    def of_split(table: pa.Table) -> pa.ChunkedArray:
        kept = _is_in(table["split_fingerprint"], evidence.splits)
        return pc.and_(of_dataset(table), pc.invert(kept))

    selections: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {
        "requests": of_dataset,
        "extractions": of_dataset,
        "promotions": of_dataset,
        "metrics": of_run,
        "curves": of_run,
        "predictions": of_run,
        "splits": of_split,
        "runs": of_run,
    }
    if evidence.n_decisions:
        del selections["promotions"]
    for table, selects in selections.items():
        folder = StoredFolder(root / "runs" / table, table)
        yield from _drop_rows(folder, selects, dry_run=dry_run)


def _drop_rows(
    folder: StoredFolder, selects: Callable[[pa.Table], pa.ChunkedArray], *, dry_run: bool
) -> Iterator[ChangedRows]:
    for file in _open_all(folder):
        table = file.read()
        drops = selects(table)
        n_dropped = _n_true(drops)
        if not n_dropped:
            continue
        if not dry_run:
            kept = table.filter(pc.invert(drops))
            if kept.num_rows:
                write_table(folder.path, kept, kind=folder.kind, owner=folder.owner)
            _remove(file.path)
        yield _counted(folder.kind, file, n_dropped, table.num_rows)


def _forget_classifiers(
    root: Location, name: str, evidence: _Evidence, *, dry_run: bool
) -> Iterator[ChangedRows]:
    for path, size_bytes in () if evidence.n_decisions else _classifiers(root, name):
        if not dry_run:
            _remove(path)
        yield ChangedRows(kind=_CLASSIFIERS, n_files=1, n_rows=1, size_bytes=size_bytes)


def _forget_features(
    root: Location, name: str, evidence: _Evidence, *, dry_run: bool
) -> Iterator[ChangedRows]:
    own = IndexStore(root, name).sizes().column("image_sha256").combine_chunks().unique()
    # Also what the champions of datasets that were forgotten before rest on.
    keep = pa.concat_arrays([evidence.images, evidence_images(root)]).unique()
    for rows in drop_unreferenced(root, dry_run=dry_run, only=own, keep=keep, without=name):
        total = rows.n_rows + rows.n_kept
        yield ChangedRows(
            kind="image-features",
            n_files=1,
            n_rows=rows.n_rows,
            size_bytes=rows.size_bytes * rows.n_rows // total,
        )


def _forget_indexes(root: Location, name: str, *, dry_run: bool) -> Iterator[ChangedRows]:
    own = [each for each in stored_folders(root) if each.path.parent == root / "datasets" / name]
    for folder in sorted(own, key=lambda each: each.kind == INDEX):
        for file in _open_all(folder):
            n_rows = file.parquet.metadata.num_rows
            if not dry_run:
                _remove(file.path)
            yield _counted(folder.kind, file, n_rows, n_rows)


# What both do


def _open_all(folder: StoredFolder) -> Iterator[VerifiedFile]:
    """Every file of a folder, the oldest first, and those that appear meanwhile."""
    seen: set[str] = set()
    while fresh := [each for each in list_file_entries(folder.path) if each.name not in seen]:
        seen.update(entry.name for entry in fresh)
        # Where no request is recorded, the index whose file is the newest is current.
        for entry in sorted(fresh, key=lambda each: each.modified):
            path = folder.path / entry.name
            with suppress(FileNotFoundError):  # merged into another file
                yield open_verified(path, kind=folder.kind, owner=folder.owner)


def _rows(root: Location, table: str, *columns: str, schema: pa.Schema | None = None) -> pa.Table:
    wanted = pick(RUN_TABLES[table] if schema is None else schema, *columns)
    return read_tables(root / "runs" / table, kind=table, schema=wanted)


def _fingerprints(root: Location, name: str) -> set[str]:
    return IndexStore(root, name).fingerprints()


def _is_in(column: pa.ChunkedArray, values: frozenset[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))


def _classifiers(root: Location, name: str) -> Iterator[tuple[Location, int]]:
    folder = classifier_folder(root, name)
    for entry in storage.list_entries(folder):
        if is_content(entry.name):
            yield folder / entry.name, entry.size_bytes


def _counted(kind: str, file: VerifiedFile, n_rows: int, n_all: int) -> ChangedRows:
    size_bytes = file.size_bytes * n_rows // n_all
    return ChangedRows(kind=kind, n_files=1, n_rows=n_rows, size_bytes=size_bytes)


def _summed(changed: list[ChangedRows]) -> tuple[ChangedRows, ...]:
    """One entry for each kind, in the order of their first."""
    sums: dict[str, Counter[str]] = {}
    for each in changed:
        counts = {name: value for name, value in vars(each).items() if name != "kind"}
        sums.setdefault(each.kind, Counter()).update(counts)
    return tuple(ChangedRows(kind=kind, **counts) for kind, counts in sums.items())


def _remove(path: Location) -> None:
    with suppress(FileNotFoundError):  # another process was faster
        storage.remove(path)


def _remove_empty_folders(root: Location, name: str) -> None:
    for inner in ("images", "quarantine", "excluded"):
        storage.remove_empty_folder(root / "datasets" / name / inner)
    storage.remove_empty_folder(root / "datasets" / name)
    storage.remove_empty_folder(root / "champions" / name)
